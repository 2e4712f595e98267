"""The fleet report: a module a section, each read from the tables of one period and judged by `statistics`.

A section reads on a cursor of the store (`read_*`: SQL to arrays) and judges in a process of its own
(`judge_*`: arrays to messages), so that nobody who delivers waits for numpy.
"""
