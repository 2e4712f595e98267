"""What became different is told to whom wants to know: found, gathered, muted, sent and accounted for.

`check_changes`, `silence` and `regressions` find changes; `telling` decides which are told now; `outbox`
sends what was decided until it arrives.  Each step is stored before the next.
"""
