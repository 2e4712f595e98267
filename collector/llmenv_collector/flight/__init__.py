"""Flight SQL: the views for standard database drivers, beside the collector's own RPCs."""
