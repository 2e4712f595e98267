"""What somebody may have meant by a name that nothing has."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

MOST = 3


def closest(name: str, known: Collection[str], *, kind: str) -> str:
    """The end of a sentence: "the closest are a, b", or "there is a, b, c" where nothing is close."""
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=MOST, cutoff=0.5)
    if near:
        return f"the closest {'is' if len(near) == 1 else 'are'} {', '.join(folded[one] for one in near)}"
    return f"{kind} {', '.join(sorted(known)) or 'none'}"
