"""Takes secrets out of what is sent to others.

Two nets, since neither is enough: values that are known to be secret here, wherever they stand, and what
looks like a secret by its form. Of the variables of a configuration only those are kept that results carry.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from llmenv_agent.environment_variables import is_allowed, looks_secret
from llmenv_agent.errors import UsageError
from llmenv_agent.targets import target_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llmenv_agent.configuration import Configuration
    from llmenv_agent.identity import Identity

REMOVED = "[removed]"
# A shorter value would take ordinary words with it.
LEAST_CHARACTERS = 6
PATTERNS = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        (r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)", 0),
        (r"(?i)(?<=\bbearer )\S+", 0),
        (r"\b(?:hf|ghp|gho|ghs|github_pat|glpat|xox[abpr]|sk|pk|rk|api)[-_][A-Za-z0-9_\-]{8,}", 0),
        (r"\bAKIA[A-Z0-9]{12,}", 0),
        (r"\beyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]+)+", 0),
    )
)
# NAME=value and "name": "value", where the name says that the value is secret.
NAMED = re.compile(
    r"""(?ix) ( [\w-]* (?: token | secret | passw(?:or)?d | passphrase | api[_-]?key | private[_-]?key
        | access[_-]?key | credential s? | authorization | cookie ) [\w-]* ["']? \s* [=:] \s* )
        ( "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s,;}"']+ )"""
)


class Redaction:
    """Knows what is secret on this machine."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = sorted({each for each in known if len(each) >= LEAST_CHARACTERS}, key=len, reverse=True)

    def text(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, REMOVED)
        for pattern in PATTERNS:
            text = pattern.sub(REMOVED, text)
        return NAMED.sub(lambda match: match[1] + _in_its_quotes(match[2]), text)


def _in_its_quotes(value: str) -> str:
    """JSON stays JSON."""
    quote = value[0] if value[0] in "\"'" else ""
    return f"{quote}{REMOVED}{quote}"


def known_secrets(configuration: Configuration | None, identity: Identity | None) -> Iterator[str]:
    """Values that must not leave this machine: of variables, of env files, and the key."""
    yield from (value for name, value in os.environ.items() if looks_secret(name))
    if identity is not None:
        yield identity.key_pem
        yield from (line for line in identity.key_pem.splitlines() if not line.startswith("-----"))
    for settings in configuration.targets if configuration else ():
        yield from (value for name, value in settings.variables.items() if not is_allowed(name))
        try:
            target = target_from(settings.python, env_file=settings.env_file)
            yield from (value for name, value in target.own_variables().items() if not is_allowed(name))
        except UsageError:
            continue  # it cannot be read, so nothing of it can stand anywhere


def harmless_configuration(content: Mapping[str, Any]) -> dict[str, Any]:
    """Without the values of variables that may not be recorded, and of whatever is named like a secret."""
    kept = {name: _harmless(name, value) for name, value in content.items()}
    targets = content.get("target", [])
    kept["target"] = [_harmless_target(each) for each in targets if isinstance(each, dict)]
    return kept


def _harmless_target(target: Mapping[str, Any]) -> dict[str, Any]:
    variables = target.get("variables", {})
    shown = {name: value if is_allowed(name) else REMOVED for name, value in dict(variables).items()}
    return {**target, "variables": shown}


def _harmless(name: str, value: Any) -> Any:
    if looks_secret(name):
        return REMOVED
    if isinstance(value, dict):
        return {each: _harmless(each, below) for each, below in value.items()}
    return value
