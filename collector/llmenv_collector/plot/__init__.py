"""Charts as inline SVG: frozen values in, text out, nothing read and nothing kept.

Colours, fonts and widths are classes that the page's style gives a light and a dark meaning; what a colour
says is always said by a shape or a letter as well.  Every chart carries a title and a description.
"""
