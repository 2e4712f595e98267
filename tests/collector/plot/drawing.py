"""A drawing as its elements: parsed, with every number of it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def parsed(text: str) -> ET.Element:
    """Raises ParseError for what is no XML."""
    return ET.fromstring(text)


def size(drawing: ET.Element) -> tuple[float, float]:
    _, _, width, height = drawing.attrib["viewBox"].split()
    return float(width), float(height)


def places(drawing: ET.Element) -> Iterator[tuple[float, float]]:
    """Every place where something is drawn; of a path with relative steps the corners' begin."""
    for one in drawing.iter():
        attributes = one.attrib
        if one.tag == "path":
            steps = re.sub(r"[hv][^A-Zhvz]*", "", attributes["d"])
            numbers = [float(number) for number in NUMBER.findall(steps)]
            yield from zip(numbers[::2], numbers[1::2], strict=True)
        elif one.tag == "rect":
            x, y = float(attributes["x"]), float(attributes["y"])
            yield x, y
            yield x + float(attributes["width"]), y + float(attributes["height"])
        elif one.tag == "circle":
            yield float(attributes["cx"]), float(attributes["cy"])
        elif one.tag == "text":
            across, down = attributes["x"].split(), attributes["y"].split()
            yield from zip(map(float, across), map(float, down), strict=True)


def require_sound(text: str) -> ET.Element:
    """Well-formed, named and described, finite, and within its own frame."""
    drawing = parsed(text)
    width, height = size(drawing)
    assert drawing.attrib["role"] == "img"
    named = {one.attrib["id"]: one for one in drawing.iter() if "id" in one.attrib}
    assert named[drawing.attrib["aria-labelledby"]].tag == "title"
    assert named[drawing.attrib["aria-describedby"]].tag == "desc"
    assert "nan" not in coordinates_of(text)
    for x, y in places(drawing):
        assert math.isfinite(x), x
        assert math.isfinite(y), y
        assert -1 <= x <= width + 1, (x, width)
        assert -1 <= y <= height + 1, (y, height)
    return drawing


def coordinates_of(text: str) -> str:
    """The attributes that hold coordinates, in one text."""
    return " ".join(re.findall(r' (?:d|x|y|cx|cy|r|width|height|viewBox)="([^"]*)"', text)).lower()
