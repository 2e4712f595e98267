"""The database written anew without the room of what was removed, which DuckDB does not give back."""
