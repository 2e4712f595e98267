"""llmenv-agent: runs checks in training environments of one machine and delivers what it saw."""
