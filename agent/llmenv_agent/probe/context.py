"""`Probe`: what a check's `run(probe)` is given to observe with and to speak its verdict through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

from . import machine, memory, surroundings
from .accelerator import Accelerator
from .cases import Case, CaseLog
from .findings import Findings

if TYPE_CHECKING:
    from pathlib import Path

    from . import second_process
    from .language_model import LanguageModel


class Probe(Findings):
    """One check in progress.

    `device` is "mps", "cuda" or "cpu".  `parameters` is complete: the check's
    defaults with what the agent was told to change.  `seed` is what every random
    number of the check has to come from.  `machine` is what the agent knows of
    this machine, and `surroundings` of how it was started itself.  `scratch` is a
    private folder that the agent removes afterwards.  `case_statuses` maps the
    names of all cases that have ended, also in an earlier process of the same
    check, to their status words.
    """

    def __init__(self, check_path: Path, request: Mapping[str, Any], result_path: Path) -> None:
        super().__init__()
        self.check_path = check_path
        self.device: str = request["device"]
        self.parameters: Dict[str, Any] = dict(request["parameters"])
        self.seed: int = request.get("seed", 0)
        self.machine = machine.from_request(request.get("machine") or {})
        self.surroundings = surroundings.from_request(request.get("surroundings") or {})
        self.scratch = result_path.parent / "scratch"
        self.scratch.mkdir(exist_ok=True)
        self.expectations: List[Dict[str, Any]] = []
        self.accelerator = Accelerator(self.device, self)
        self._earlier_cases: Dict[str, str] = dict(request.get("completed_cases") or {})
        self._only_cases = frozenset(request.get("only_cases") or ())
        self._cases: List[Case] = []
        self._case_log = CaseLog(result_path)
        self._first_unmet: Optional[Dict[str, Any]] = None
        self._language_model: Optional[LanguageModel] = None

    def expect(
        self,
        name: str,
        met: bool,
        expected: object,
        observed: object,
        source: str = "",
        *,
        required: bool = True,
    ) -> bool:
        """Record what had to be and what was; returns `met`.

        An unmet expectation makes the check `fail`, whatever it says at its
        end, unless `required` is False: then it is recorded and the check
        decides.
        """
        expectation = {
            "name": name,
            "met": bool(met),
            "expected": str(expected),
            "observed": str(observed),
            "source": source,
        }
        self.expectations.append(expectation)
        if required and not met and self._first_unmet is None:
            self._first_unmet = expectation
        return bool(met)

    def case(self, name: str, **parameters: Any) -> Case:
        """One row: `with probe.case("softmax/fp16", dtype="float16") as case: ...`."""
        return Case(name, parameters, log=self._case_log, ended=self._cases)

    def is_completed(self, name: str) -> bool:
        """Whether the case is not to be run: it ran in an earlier process of this check, or ended that
        process, or others alone are asked for.
        """
        return name in self._earlier_cases or bool(self._only_cases and name not in self._only_cases)

    @property
    def case_statuses(self) -> Dict[str, str]:
        return {**self._earlier_cases, **{case.name: case.status for case in self._cases}}

    @property
    def language_model(self) -> LanguageModel:
        """Loads the language model that the parameters name, and says where its weights come from."""
        if self._language_model is None:
            from .language_model import LanguageModel

            self._language_model = LanguageModel(self)
        return self._language_model

    def run_in_second_process(
        self,
        name: str,
        environment: Optional[Mapping[str, str]] = None,
        parameters: Optional[Mapping[str, Any]] = None,
        timeout_seconds: Optional[float] = None,
    ) -> second_process.SecondOutcome:
        """Run `run_<name>(probe)` of this check file in a fresh process of this interpreter.

        `environment` is set before that interpreter starts, hence before torch
        is imported there.
        """
        from . import second_process

        return second_process.run(
            self.check_path,
            "run_" + name,
            request={
                "device": self.device,
                "parameters": {**self.parameters, **(parameters or {})},
                "seed": self.seed,
                "machine": self.machine._asdict(),
            },
            environment=environment or {},
            scratch=self.scratch,
            timeout_seconds=timeout_seconds,
        )

    def memory_room(self) -> Tuple[Optional[float], str]:
        """Bytes that this check may still take on its device, and where the figure comes from.

        None where nothing is known.  A GPU that shares the machine's memory is bound by both.
        """
        rooms = {"available memory": self.machine.available_bytes, **self.accelerator.memory_room()}
        if self.device == "mps":
            rooms.setdefault("recommended working set", self.machine.working_set_bytes)
        known = {source: float(room) for source, room in rooms.items() if room is not None}
        source = min(known, key=lambda each: known[each], default="")
        return known.get(source), source

    def require_memory(
        self, needed_bytes: float, arithmetic: str, *, findings: Optional[Findings] = None
    ) -> None:
        """Skip, with the arithmetic, what would not fit: the check, or the case given as `findings`."""
        room, source = self.memory_room()
        if room is not None and needed_bytes > room:
            (findings or self).skip(
                "Does not fit: it needs {needed:.2f} GB ({arithmetic}) and has {room:.2f} GB ({source}).",
                needed=needed_bytes / 1e9,
                arithmetic=arithmetic,
                room=room / 1e9,
                source=source,
            )

    def peak_memory(self) -> Dict[str, Any]:
        """The keys of `llmenv.fleet.v1.PeakMemory` so far: the process's, and the accelerator's if used."""
        return {**memory.peak(), **self.accelerator.peak()}

    def peak_memory_bytes(self) -> float:
        """The figure that holds the weights: the accelerator's peak where one is used, else the process's."""
        peak = self.peak_memory()
        keys = ("accelerator_allocated_bytes", "accelerator_driver_bytes", "process_bytes")
        return float(next(peak[key] for key in keys if peak.get(key)))

    def conclude(self) -> None:
        """Settle the verdict after `run` has returned: nothing unmet, failed or not run may end as a pass."""
        if self._first_unmet is not None:
            unmet = {key: self._first_unmet[key] for key in ("name", "expected", "observed")}
            self.settle("fail", "{name}: expected {expected}, observed {observed}.", unmet)
        elif failed := self._cases_that("fail"):
            counts = {"failed": len(failed), "total": len(self.case_statuses), "first": failed[0]}
            template = "{failed} of {total} cases failed, first {first}."
            self.settle("fail", template, counts, remedy=self._remedy_of(failed))
        elif stopped := self._cases_that("error"):
            counts = {"stopped": len(stopped), "total": len(self.case_statuses), "first": stopped[0]}
            template = "{stopped} of {total} cases could not be run, first {first}."
            self.settle("error", template, counts, remedy=self._remedy_of(stopped))
        elif not self.status:
            self._conclude_unspoken()

    def _cases_that(self, word: str) -> List[str]:
        return [name for name, status in self.case_statuses.items() if status == word]

    def _remedy_of(self, names: List[str]) -> str:
        """The remedy of the first of these cases that has one; those of earlier processes are not known."""
        return next((case.remedy for case in self._cases if case.name in names and case.remedy), "")

    def _conclude_unspoken(self) -> None:
        met = sum(expectation["met"] for expectation in self.expectations)
        limited = self._cases_that("warn")
        if limited:
            counts = {"limited": len(limited), "total": len(self.case_statuses), "first": limited[0]}
            template = "{limited} of {total} cases work with a limitation, first {first}."
            self.settle("warn", template, counts, remedy=self._remedy_of(limited))
        elif "pass" in self.case_statuses.values():
            self._conclude_passed_cases(list(self.case_statuses.values()))
        elif met:
            self.settle("pass", "All {count} expectations were met.", {"count": met})
        elif set(self.case_statuses.values()) == {"skip"}:
            first = next((case.reason["text"] for case in self._cases), "")
            counts = {"count": len(self.case_statuses), "reason": first}
            self.settle("skip", "None of {count} cases applies here. {reason}", counts)
        else:
            self.settle("error", "The check ended without a verdict.", {})

    def _conclude_passed_cases(self, words: List[str]) -> None:
        counts = {"passed": words.count("pass"), "total": len(words), "skipped": words.count("skip")}
        if counts["skipped"]:
            template = "Cases passed: {passed} of {total}; do not apply here: {skipped}."
            self.settle("pass", template, counts)
        else:
            self.settle("pass", "Cases passed: {passed} of {total}.", counts)

    def result(self, *, error: Optional[Dict[str, str]], **figures: Any) -> Dict[str, Any]:
        """The keys of `llmenv.fleet.v1.Result`, with the status as a word; cases are in their own file."""
        return {
            "status": self.status,
            "reason": self.reason,
            "expectations": self.expectations,
            "measurements": self.measurements,
            "facts": self.facts,
            "remedy_id": self.remedy,
            "error": error,
            **figures,
        }
