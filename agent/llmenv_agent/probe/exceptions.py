"""What an exception that a check let through means: a status, a sentence and the error record."""

from __future__ import annotations

import importlib.util
import traceback
from typing import Any, Dict, NamedTuple

from . import missing
from .sentences import shortened

MESSAGE_LIMIT = 4 * 1024
TRACEBACK_LIMIT = 16 * 1024


class Described(NamedTuple):
    """An exception in the words of a result."""

    status: str
    template: str
    values: Dict[str, Any]
    error: Dict[str, str]


def describe(raised: BaseException) -> Described:
    """A failed assertion is `fail`; a missing package or library, and anything else, is `error`."""
    if isinstance(raised, AssertionError):
        return _described(raised, "fail", "Assertion failed: {assertion}", assertion=_assertion(raised))
    if isinstance(raised, ModuleNotFoundError) and raised.name:
        return _missing_module(raised, raised.name)
    library = missing.library(_text(raised)) if isinstance(raised, (ImportError, OSError)) else ""
    if library:
        template = "The dynamic library {library} is missing."
        return _described(raised, "error", template, missing_name=library, library=library)
    message = shortened(_text(raised), limit=300)
    if not message:
        return _described(raised, "error", "{type}", type=type(raised).__name__)
    return _described(raised, "error", "{type}: {message}", type=type(raised).__name__, message=message)


def _missing_module(raised: ModuleNotFoundError, name: str) -> Described:
    package = name.partition(".")[0]
    if name == package or importlib.util.find_spec(package) is None:
        template = "The package {package} is not installed in this environment."
        return _described(raised, "error", template, missing_name=package, package=package)
    template = "The installed package {package} has no module {module}."
    return _described(raised, "error", template, missing_name=name, package=package, module=name)


def _described(
    raised: BaseException, status: str, template: str, *, missing_name: str = "", **values: str
) -> Described:
    lines = traceback.format_exception(type(raised), raised, raised.__traceback__)
    error = {
        "type": type(raised).__name__,
        "message": _text(raised)[:MESSAGE_LIMIT],
        "missing": missing_name,
        "traceback": "".join(lines)[-TRACEBACK_LIMIT:],
    }
    return Described(status, template, values, error)


def _text(raised: BaseException) -> str:
    """Its message; "" where asking for it raises, as nothing may that is done with what a check raised."""
    try:
        return str(raised)
    except BaseException:
        return ""


def _assertion(raised: AssertionError) -> str:
    """The assertion's message, or where it has none its line of source."""
    message = shortened(_text(raised), limit=300)
    frames = traceback.extract_tb(raised.__traceback__)
    if message or not frames:
        return message
    return shortened(frames[-1].line or f"line {frames[-1].lineno}", limit=300)
