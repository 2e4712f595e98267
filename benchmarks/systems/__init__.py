"""Systems that keep runs, ours among them, each served on loopback and fed and asked in its own way."""
