"""The last runs of `llmenv-agent check`, kept so that the id of a result is enough to replay it.

What the daemon runs is in its spool; these are for the person at the machine, and never delivered.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import run_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER_NAME = "runs"
# A run of 3,000 cases takes two megabytes.
MOST_RUNS = 20


def save_run(run: run_pb2.Run, state_dir: Path, *, checks_folders: Iterable[Path] = ()) -> None:
    """Keep `run` and where its checks lie beside ours, and let go of the oldest. Raises OSError."""
    from google.protobuf.json_format import MessageToDict

    folder = state_dir / FOLDER_NAME
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "checks_folders": [str(each.resolve()) for each in checks_folders],
        "run": MessageToDict(run, preserving_proto_field_name=True),
    }
    path = folder / f"{run.run_id}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    part.replace(path)
    for old in _newest_first(folder)[MOST_RUNS:]:
        old.unlink(missing_ok=True)


def saved_runs(state_dir: Path) -> Iterator[tuple[run_pb2.Run, tuple[Path, ...]]]:
    """Each with the folders of its own checks, newest first; what cannot be read is passed over."""
    from google.protobuf import json_format

    for path in _newest_first(state_dir / FOLDER_NAME):
        try:
            content: dict[str, Any] = json.loads(path.read_text("utf-8"))
            run = json_format.ParseDict(content["run"], run_pb2.Run(), ignore_unknown_fields=True)
            folders = tuple(Path(each) for each in content["checks_folders"])
        except (OSError, ValueError, KeyError, TypeError, json_format.ParseError):
            continue
        yield run, folders


def _newest_first(folder: Path) -> list[Path]:
    """Ids of runs sort by time."""
    return sorted(folder.glob("*.json"), reverse=True)
