"""Asking the history in SQL: statements with parameters, answers as they arrive, the views, and a shell."""
