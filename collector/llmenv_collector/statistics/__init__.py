"""What differs, by how much, and is it real: pure functions on arrays.

Nothing here knows the store, the wire, a clock or a file.  What is drawn at
random is drawn from a generator that the caller passes in, so the same values and
the same seed give the same answer.
"""
