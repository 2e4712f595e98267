"""From what the agent and the collector say to what people read: a report is built once, then written."""
