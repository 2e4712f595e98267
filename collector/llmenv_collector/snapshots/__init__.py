"""Read-only copies of the database, and what else can be served in its place."""
