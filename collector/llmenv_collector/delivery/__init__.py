"""The way of a record: an agent's stream, room to wait in, typed rows, one transaction for many."""
