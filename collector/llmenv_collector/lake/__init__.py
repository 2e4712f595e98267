"""The store past one machine: DuckLake, with its catalog in PostgreSQL and Parquet on shared storage."""
