"""The sections of the fleet report's page, a module each: messages in, blocks out."""
