"""Pages for a browser: a report in, one self-contained HTML file out, in either language.

`fleet_page` and its like turn messages into a frozen view; templates only lay it out.
"""
