"""Elements of SVG as text: names of others are escaped, and a coordinate is always a finite number."""

from __future__ import annotations

import math
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Characters that XML cannot hold, not even escaped, and lone surrogates.
UNSPEAKABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def words(text: str) -> str:
    """Text that may stand between tags and within quotes."""
    return escape(UNSPEAKABLE.sub("\ufffd", text))


def number(value: float) -> str:
    """A coordinate, a hundredth of a unit exact.  Raises ValueError for one that is not finite."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no coordinate")
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def element(name: str, *content: str, **attributes: str | float) -> str:
    """`class_` and `aria_label` stand for the names that Python cannot spell; content is SVG already."""
    said = "".join(f' {spelled(key)}="{attribute(value)}"' for key, value in attributes.items())
    inside = "".join(content)
    return f"<{name}{said}>{inside}</{name}>" if inside else f"<{name}{said}/>"


def text(said: str, *, x: float, y: float, class_: str) -> str:
    return element("text", words(said), x=x, y=y, class_=class_)


def line(*, x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    return element("path", d=f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}", class_=class_)


def polygon(points: Iterable[tuple[float, float]], *, class_: str) -> str:
    return element(
        "path", d="M" + "L".join(f"{number(x)} {number(y)}" for x, y in points) + "Z", class_=class_
    )


def figure(
    *content: str,
    width: float,
    height: float,
    identity: str,
    title: str,
    description: str,
    class_: str,
    **attributes: str | float,
) -> str:
    """The whole picture, which a screen reader names by its title and explains by its description."""
    name, about = f"{identity}-name", f"{identity}-about"
    return element(
        "svg",
        element("title", words(title), id=name),
        element("desc", words(description), id=about),
        *content,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=name,
        aria_describedby=about,
        class_=f"chart {class_}",
        **attributes,
    )


def spelled(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def attribute(value: str | float) -> str:
    return words(value) if isinstance(value, str) else number(value)


WIDTH_OF_LATIN, WIDTH_OF_CHINESE = 7.0, 12.2
"""Of an average letter of the widest type that charts are likely set in, 12 units high."""


def width_of(said: str) -> float:
    """About, in units."""
    return sum(WIDTH_OF_CHINESE if letter > "\u2e7f" else WIDTH_OF_LATIN for letter in said)


def shortened(said: str, *, units: float) -> str:
    """What fits into this many units, with an ellipsis where something was left out."""
    if width_of(said) <= units:
        return said
    room, kept = units - WIDTH_OF_LATIN, 0
    while kept < len(said) and width_of(said[: kept + 1]) <= room:
        kept += 1
    return said[:kept].rstrip() + "…"
