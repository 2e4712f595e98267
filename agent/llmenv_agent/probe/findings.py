"""What a check or one of its cases finds: measurements, facts and one verdict.

`fail`, `skip` and `error` end the check or case at once by raising `Verdict`, which is
no `Exception`, so that a check's own `except Exception` cannot swallow it.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NoReturn, Optional, Sequence, Union

from .result_file import number
from .sentences import sentence

STABILITIES = {
    None: "STABILITY_UNSPECIFIED",
    "stable": "STABILITY_STABLE",
    "unstable": "STABILITY_UNSTABLE",
    "declining": "STABILITY_DECLINING",
}
DIRECTIONS = {
    None: "DIRECTION_UNSPECIFIED",
    "higher": "DIRECTION_HIGHER_IS_BETTER",
    "lower": "DIRECTION_LOWER_IS_BETTER",
}


class Verdict(BaseException):
    """A check or case has spoken its verdict and goes no further."""

    def __init__(self, owner: Findings) -> None:
        super().__init__(owner.reason["text"])
        self.owner = owner


class Findings:
    """Measurements, facts, and a status with one sentence why."""

    def __init__(self) -> None:
        self.status = ""
        self.reason: Dict[str, Any] = sentence("", {})
        self.remedy = ""
        self.measurements: List[Dict[str, Any]] = []
        self.facts: List[Dict[str, Any]] = []

    def measure(
        self,
        name: str,
        value: Optional[float],
        unit: str,
        better: Optional[str] = None,
        *,
        trials: Sequence[float] = (),
        warmups: Sequence[float] = (),
        stability: Optional[str] = None,
    ) -> float:
        """Record a number in `unit`; without `value` it is the median of `trials`. Returns the value.

        `better` is "higher", "lower" or None. `trials` are raw values in the
        order taken; `warmups` are kept apart and never count.  `stability` is what
        was judged of the series: "stable", "unstable", "declining", or None.
        """
        if value is None and not trials:
            self.error("{measurement} was not measured: the parameters leave no trial.", measurement=name)
        if value is None:
            import statistics

            value = statistics.median(trials)
        self.measurements.append(
            {
                "name": name,
                "unit": unit,
                "value": number(value),
                "direction": DIRECTIONS[better],
                "trials": [number(trial) for trial in trials],
                "warmups": [number(warmup) for warmup in warmups],
                "stability": STABILITIES[stability],
            }
        )
        return float(value)

    def fact(self, name: str, value: Union[str, bool, float], unit: str = "") -> None:
        """Record an observation that is not compared: words, a number or yes/no."""
        if isinstance(value, bool):
            self.facts.append({"name": name, "flag": value})
        elif isinstance(value, (int, float)):
            self.facts.append({"name": name, "number": number(value), "unit": unit})
        elif isinstance(value, str):
            self.facts.append({"name": name, "text": value, "unit": unit})
        else:
            raise TypeError(f"fact {name!r} is words, a number or yes/no, not {type(value).__name__}")

    def passed(self, template: str, **values: Any) -> None:
        """Say what was right. A warning said before stays the verdict."""
        if self.status != "warn":
            self.settle("pass", template, values)

    def warn(self, template: str, remedy: Optional[str] = None, **values: Any) -> None:
        """Say that it works with a limitation. The first warning is the reason, others become facts."""
        if self.status == "warn":
            self.fact("further_warning", sentence(template, values)["text"])
            return
        self.settle("warn", template, values, remedy=remedy)

    def fail(self, template: str, remedy: Optional[str] = None, **values: Any) -> NoReturn:
        """End here: it ran, and what it observed is wrong."""
        self.settle("fail", template, values, remedy=remedy)
        raise Verdict(self)

    def skip(self, template: str, **values: Any) -> NoReturn:
        """End here: it does not apply, and the sentence says why."""
        self.settle("skip", template, values)
        raise Verdict(self)

    def error(self, template: str, **values: Any) -> NoReturn:
        """End here: it could not be run, and the sentence says what to do."""
        self.settle("error", template, values)
        raise Verdict(self)

    def settle(
        self, status: str, template: str, values: Mapping[str, Any], remedy: Optional[str] = None
    ) -> None:
        """Set the status and its sentence."""
        self.status = status
        self.reason = sentence(template, values)
        self.remedy = remedy or ""
