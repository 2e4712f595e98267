"""Arrow Flight and Flight SQL, the protocol of standard database drivers.

Names and numbers are those of Apache Arrow, so that its drivers are understood.
"""
