"""The shapes that say what a colour says: better, worse, same, inconclusive, and none of these."""

from __future__ import annotations

from enum import StrEnum

from llmenv_collector.plot import svg

RADIUS = 5.0


class Mark(StrEnum):
    """Its value is the class that gives it its colour."""

    PLAIN = "plain"
    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"


def drawn(mark: Mark, *, x: float, y: float) -> str:
    """Around this place: a disc, triangles up and down, a square, a ring."""
    class_ = f"mark {mark.value}"
    r = RADIUS
    if mark is Mark.BETTER:
        return svg.polygon([(x - r, y + r - 1), (x + r, y + r - 1), (x, y - r)], class_=class_)
    if mark is Mark.WORSE:
        return svg.polygon([(x - r, y - r + 1), (x + r, y - r + 1), (x, y + r)], class_=class_)
    if mark is Mark.SAME:
        return svg.element("rect", x=x - r + 1, y=y - r + 1, width=2 * r - 2, height=2 * r - 2, class_=class_)
    return svg.element("circle", cx=x, cy=y, r=r - 0.8, class_=class_)
