"""One file, one check. Run by the target interpreter, never imported by the agent."""
