"""Commands that people give to machines: issued, stored, delivered and watched."""
