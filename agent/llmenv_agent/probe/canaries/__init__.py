"""Canaries: computations that known silent errors of MPS and MLX get wrong, each with the right answer."""
