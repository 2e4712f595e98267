"""The compactor is killed (`kill -9`) in the middle of a commit: what was stored is there, once."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from llmenv_collector.delivery.sighting import Sighting

from tests.lake.conftest import needs_lake
from tests.lake.losing import AFTER, BEFORE, HELD, REPOSITORY
from tests.lake.records import Spool, answer, ledger
from tests.lake.test_exactly_once import PATIENCE, collectors
from tests.lake.test_housekeeping import STATE
from tests.lake.test_lost_answers import losing, require_all_files, through  # noqa: F401 (one is a fixture)

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_collector.lake.place import Place

    from tests.lake.losing import Losing

pytestmark = needs_lake
COMPACTOR = """
import json, sys
from llmenv_collector.lake.housekeeping import keep_house
from llmenv_collector.lake.place import Place
print(keep_house(Place.from_shown(json.load(sys.stdin))))
"""


def killed_at_its_first_commit(place: Place, losing: Losing, moment: str) -> None:  # noqa: F811 (the same)
    losing.lose(moment + HELD)
    with subprocess.Popen(
        [sys.executable, "-c", COMPACTOR], cwd=REPOSITORY, stdin=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(through(losing, place).shown(0)))
        process.stdin.close()
        losing.lost()
        process.kill()


@pytest.mark.parametrize("moment", [BEFORE, AFTER])
def test_a_compactor_is_killed_in_its_commit(
    place: Place,
    losing: Losing,  # noqa: F811 (a fixture)
    tmp_path: Path,
    moment: str,
) -> None:
    """While it folds rows, and while it makes one file of several; before PostgreSQL commits, and after."""
    from llmenv_collector.lake.housekeeping import keep_house

    spools = [Spool() for _ in range(2)]
    with collectors(place, tmp_path, 1) as (store,):

        def deliver(number: int) -> None:
            for spool in spools:
                store.see(Sighting(spool.machine_id, seen_at=number, agent_version=f"0.{number}"))
                store.deliver(spool.records([number])).result(PATIENCE)

        def kill() -> None:
            before = answer(store, STATE)
            killed_at_its_first_commit(place, losing, moment)
            require_all_files(place, store)
            assert answer(store, STATE) == before

        for number in (1, 2, 3):
            deliver(number)
        kill()
        assert keep_house(place) == []
        deliver(4)
        kill()
        files = "SELECT count(*) = 1 FROM ducklake_list_files('lake', 'record', schema => 'store')"
        assert answer(store, files) == [(moment == AFTER,)]
        deliver(5)
        assert keep_house(place) == []
        require_all_files(place, store)
        assert ledger(store) == (10, 10, 10)
