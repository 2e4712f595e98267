"""What is removed when it is old enough, and what is kept of it."""
