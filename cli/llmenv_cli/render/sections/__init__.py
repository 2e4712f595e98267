"""The sections of a run's report, each a function of the run and the texts of one language.

Every sentence stands on a result: what never ran is said to be unknown, and what no check measured is
not said to work.
"""
