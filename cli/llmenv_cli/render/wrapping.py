"""Text that wraps by itself, Chinese as well: between any two ideographs, and never before a closing mark.

rich breaks lines at blanks alone, and Chinese has none.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells
from rich.measure import Measurement
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderResult

WIDE = r"\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef"
OPENING = r"\uff08\u201c"
CLOSING = r"\u3001\u3002\uff09\uff0c\uff1a\uff1b\uff1f\u201d"
# A blank, an ideograph, or a word; with the opening marks that must not end a line, and the closing ones that
# must not begin one.
PIECE = re.compile(rf"[^\S\n]+|\n|[{OPENING}]*(?:[{WIDE}]|[^\s{WIDE}]+)[{CLOSING}]*")
# Longer words are broken rather than let a column starve the others.
LONGEST_WORD = 30


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """A text that fills whatever width it is given."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("\n".join(wrapped(self.text, options.max_width)))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        longest = max((cell_len(piece) for piece in PIECE.findall(self.text)), default=0)
        widest = max((cell_len(line) for line in self.text.splitlines()), default=0)
        return Measurement(min(longest, LONGEST_WORD), widest).with_maximum(options.max_width)


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` cells, without blanks at their ends."""
    lines = [""]
    for piece in _pieces(text, width):
        if piece == "\n":
            lines.append("")
        elif cell_len(lines[-1]) + cell_len(piece.rstrip()) <= width:
            lines[-1] += piece
        else:
            lines.append(piece.lstrip())
    return [line.rstrip() for line in lines]


def _pieces(text: str, width: int) -> Iterator[str]:
    """What a line may be put together from; words wider than a line in parts."""
    for piece in PIECE.findall(text):
        yield from chop_cells(piece, width) if cell_len(piece) > width else (piece,)
