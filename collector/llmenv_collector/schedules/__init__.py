"""Schedules that people set and agents keep."""
