"""Proof of delivery: real agents and collectors, disturbed in every way we know, then asked for every record.

`python -m tests.chaos --rounds 1000 --seed 1` (or `make chaos`) plays rounds. Each draws its disturbance from
the seed and its own number, so `--seed 1 --first 412 --rounds 1` plays the round 412 again.
"""
