"""Numbered steps of the schema, each applied once, in one transaction."""
