"""The live pages: the fleet report, a page a machine and a page a run, over HTTPS, behind a viewer's token.

Nothing here changes anything but who is logged in.  What is shown is rendered by `pages`.
"""
