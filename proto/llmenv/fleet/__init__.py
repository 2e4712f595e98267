"""Packages of the fleet contract, one a version."""
