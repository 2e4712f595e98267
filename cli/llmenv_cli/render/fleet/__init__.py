"""The fleet report for people: a module a section, each from messages to blocks."""
