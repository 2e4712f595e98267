"""What analysts see: schema v1, one view a file, a comment for each column."""
