"""Takes people out of what a check has printed: the own user's name and home, and homes of others.

Names that name nobody, such as root, stay. What else is collected is listed in docs/privacy.md.
"""

from __future__ import annotations

import functools
import getpass
import os
import re
from pathlib import Path

PERSON = "[user]"
LEAST_CHARACTERS = 3
OF_NOBODY = {
    "root",
    "admin",
    "administrator",
    "user",
    "test",
    "mac",
    "macos",
    "runner",
    "ubuntu",
    "daemon",
    "nobody",
}
HOMES = re.compile(r"(/(?:Users|home)/)(?!Shared\b|\[user\])[^/\s\"'`:;,)\]}>|]+")


def scrubbed(text: str) -> str:
    """The same without the people of this machine."""
    return without(text, home=own_home(), name=own_name())


def without(text: str, *, home: str, name: str) -> str:
    """Paths in `home` begin with ~, and `name` is gone where it is a word."""
    if len(home) > LEAST_CHARACTERS:
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    text = HOMES.sub(rf"\g<1>{PERSON}", text)
    if len(name) >= LEAST_CHARACTERS and name.lower() not in OF_NOBODY:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", PERSON, text)
    return text


@functools.cache
def own_home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # an id without a home, as in a container
        return ""


@functools.cache
def own_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return os.environ.get("LOGNAME", "")
