"""One module a command of llmenv-collector."""
