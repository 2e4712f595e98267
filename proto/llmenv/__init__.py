"""The contract: messages, and what agent, collector and CLI agree on beside them."""

__version__ = "0.1.0"
