"""llmenv: asks a collector, or the agent of this machine, and renders the answer."""
