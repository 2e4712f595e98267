"""The running collector: its ports, its gate, its limits, and what it says of itself."""
