"""The data folder and the one DuckDB file in it, with the one thread that writes."""
