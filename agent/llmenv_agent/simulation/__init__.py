"""Fleets of virtual Macs whose truth is known: what is planted in their history, and the history itself.

Seeded: the same seed gives the same records, byte for byte. Nothing here measures anything.
"""
