"""The agent as a service: what launchd or systemd is told, so that it starts by itself and starts again.

`job` is what is to run; `launchd` and `systemd` write it down in their own form and load it; `installation`
is what both have in common; `rehearsal` refuses what could not work.
"""
