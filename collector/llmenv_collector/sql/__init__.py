"""SQL written by people: what a statement may be, whose turn it is, and the process that it runs in."""
