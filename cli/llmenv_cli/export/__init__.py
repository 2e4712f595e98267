"""The history as a folder of files: a view and a month each, gone on with after an interruption."""
