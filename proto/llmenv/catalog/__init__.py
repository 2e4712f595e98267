"""What all three programs agree on beside messages: words, chips, known issues, texts."""
