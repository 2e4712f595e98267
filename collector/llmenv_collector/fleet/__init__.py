"""What people ask of single machines and runs, and which machines a request is about."""
