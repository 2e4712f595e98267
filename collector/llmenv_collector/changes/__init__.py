"""Change points of every series, kept up to date in the background."""
