"""Backups of the database, their history, and the way back."""
