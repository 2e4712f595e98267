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


def shortened(said: str, *, units: float) -> str:
    """What fits into this many units of the small type, with an ellipsis where something was left out."""
    room = units / WIDTH_OF_LATIN
    taken = 0.0
    for position, character in enumerate(said):
        taken += 1.75 if character > "\u2e7f" else 1
        if taken > room:
            return said[: max(position - 1, 0)].rstrip() + "…"
    return said


WIDTH_OF_LATIN = 6.3
"""Of an average letter of the type that charts are set in, 12 units high; a Chinese one takes 11."""
