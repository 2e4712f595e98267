"""llmenv-collector: keeps what the agents deliver and compares it."""
