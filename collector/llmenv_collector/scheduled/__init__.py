"""Reports that are made at set times and written to a folder or sent to a webhook."""
