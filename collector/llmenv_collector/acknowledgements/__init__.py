"""Acknowledgements of findings: taken from people, kept, and served."""
