"""Fewer points of a long series that look the same: what stands out stays.

The series is cut into equal parts; of each the first, the last, the lowest and the highest point are kept,
and so are the last point before each time that matters and the first one from it on.  So no outlier, no end
and no side of a change is lost, and a picture a few hundred dots wide is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmenv_collector.plot.time_series import Point

OF_A_PART = 4


def thinned(points: Sequence[Point], *, most: int, around: Iterable[float] = ()) -> tuple[Point, ...]:
    """`points` in the order of time; `most` of them at most, and two more for each time in `around`."""
    if len(points) <= most:
        return tuple(points)
    parts = max(most // OF_A_PART, 1)
    kept: set[int] = set()
    for part in range(parts):
        begin, end = (len(points) * edge // parts for edge in (part, part + 1))
        inside = range(begin, end)
        kept |= {
            begin,
            end - 1,
            min(inside, key=lambda place: points[place].value),
            max(inside, key=lambda place: points[place].value),
        }
    for time in around:
        after = next((place for place, point in enumerate(points) if point.time >= time), len(points))
        kept |= {place for place in (after - 1, after) if 0 <= place < len(points)}
    return tuple(points[place] for place in sorted(kept))
