"""Backups are whole, apart from who may come, and the way back loses nothing that a machine still holds."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from llmenv.fleet.v1.collector_service_pb2 import TakeSnapshotRequest
from llmenv.fleet.v1.collector_service_pb2_grpc import CollectorServiceStub
from llmenv.ids import new_id
from llmenv_collector.exit_codes import ExitCode
from llmenv_collector.storage import migrate

from .conftest import PATIENCE_SECONDS, RunningCollector, run_command

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator


@pytest.fixture
def stoppable(tmp_path: Path) -> Iterator[RunningCollector]:
    """A collector that the test may stop, kill and start, and that says nothing by itself."""
    running = RunningCollector(tmp_path / "data")
    yield running
    running.stop()


def on(collector: RunningCollector, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = run_command(*arguments, "--data", str(collector.folder))
    assert "Traceback" not in done.stderr
    return done


def backed_up(collector: RunningCollector, destination: Path, *flags: str) -> Path:
    done = on(collector, "backup", str(destination), *flags)
    assert done.returncode == ExitCode.OK, done.stderr
    return Path(done.stdout.strip())


def test_a_backup_is_made_while_agents_are_acknowledged(stoppable: RunningCollector) -> None:
    """Records go on to be acknowledged, and what the manifest says is in the copy."""
    machine, spool_id = stoppable.enrol(), new_id()
    stream = machine.connect(spool_id)
    stream.deliver([machine.check_started() for _ in range(100)], first=1)
    assert stream.receive("acknowledged").watermark == 100
    made: list[Path] = []
    backing_up = threading.Thread(
        target=lambda: made.append(backed_up(stoppable, stoppable.folder.parent / "backup"))
    )
    backing_up.start()
    acknowledged, during = 100, 0
    while backing_up.is_alive() or during == 0:
        stream.deliver([machine.check_started()], first=acknowledged + 1)
        while (kind := stream.incoming.get(timeout=PATIENCE_SECONDS)).WhichOneof("message") != "acknowledged":
            pass
        acknowledged, during = kind.acknowledged.watermark, during + 1
    manifest = json.loads((made[0] / "manifest.json").read_text())
    assert 100 <= manifest["contents"]["watermarks"][spool_id] <= acknowledged
    assert manifest["contents"]["records"] == manifest["contents"]["watermarks"][spool_id]
    assert (manifest["format"], manifest["contents"]["schema"]) == (1, migrate.shipped()[-1].version)
    assert set(manifest["files"]) == {"llmenv.duckdb"}
    stream.close()


def test_a_folder_gets_backups_named_by_their_time(stoppable: RunningCollector, tmp_path: Path) -> None:
    """And a name that is taken is refused, so that nothing is overwritten."""
    (tmp_path / "backups").mkdir()
    made = backed_up(stoppable, tmp_path / "backups")
    assert made.parent == tmp_path / "backups"
    file = tmp_path / "taken"
    file.write_text("mine")
    refused = on(stoppable, "backup", str(file))
    assert (refused.returncode, "never overwrites" in refused.stderr) == (ExitCode.USAGE, True)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [made.name]


def test_the_identity_is_apart_and_private(stoppable: RunningCollector, tmp_path: Path) -> None:
    """Only asked for, and for the owner's eyes only."""
    made = backed_up(stoppable, tmp_path / "whole", "--with-identity")
    files = [path for path in made.rglob("*") if path.is_file()]
    assert {file.name for file in files if file.parent.name == "identity"} == {
        "ca-key.pem",
        "ca.pem",
        "identity.db",
    }
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (made, made / "identity")} == {0o700}


def test_a_collector_that_serves_cannot_be_restored(stoppable: RunningCollector, tmp_path: Path) -> None:
    """The lock of the folder says so, and nothing changes."""
    made = backed_up(stoppable, tmp_path / "backup")
    refused = on(stoppable, "restore", str(made))
    assert refused.returncode == ExitCode.FAILED
    assert "already uses" in refused.stderr
    assert list(stoppable.folder.glob("*before-restore*")) == []


def test_after_a_restore_the_agent_is_asked_from_where_the_backup_is(
    stoppable: RunningCollector, tmp_path: Path
) -> None:
    """The former database is kept, and restore says how much it was ahead."""
    machine, spool_id = stoppable.enrol(), new_id()
    records = [machine.check_started() for _ in range(7)]
    stream = machine.connect(spool_id)
    stream.deliver(records[:3], first=1)
    assert stream.receive("acknowledged").watermark == 3
    made = backed_up(stoppable, tmp_path / "backup")
    stream.deliver(records[3:], first=4)
    assert stream.receive("acknowledged").watermark == 7
    stoppable.stop()
    restored = on(stoppable, "restore", str(made))
    assert restored.returncode == ExitCode.OK, restored.stderr
    assert "had 4 records more" in restored.stderr
    (former,) = stoppable.folder.glob("llmenv.duckdb.before-restore-*")
    stoppable.start()
    again = machine.connect(spool_id)
    assert again.welcome.watermark == 3
    again.deliver(records[3:], first=4)
    assert again.receive("acknowledged").watermark == 7
    again.close()
    stoppable.stop()
    with stoppable.database() as database:
        assert database.sql("SELECT count(*), count(DISTINCT record_id) FROM store.record").fetchall() == [
            (7, 7)
        ]
    assert former.exists()


def test_no_restore_brings_a_revoked_machine_or_a_used_token_back(
    stoppable: RunningCollector, tmp_path: Path
) -> None:
    """Who may come is kept apart: an older identity is refused, and the present one goes on to hold."""
    revoked, kept = stoppable.enrol("revoked"), stoppable.enrol("kept")
    made = backed_up(stoppable, tmp_path / "backup", "--with-identity")
    assert on(stoppable, "machine", "revoke", "revoked").returncode == ExitCode.OK
    enrolled_since = stoppable.enrol("since")
    stoppable.stop()
    refused = on(stoppable, "restore", str(made), "--with-identity")
    assert refused.returncode == ExitCode.USAGE
    assert "revoked machines" in refused.stderr
    assert on(stoppable, "restore", str(made)).returncode == ExitCode.OK
    stoppable.start()
    with pytest.raises(grpc.RpcError) as denied:
        revoked.connect(new_id())
    assert denied.value.code() == grpc.StatusCode.PERMISSION_DENIED
    for machine in (kept, enrolled_since):
        machine.connect(new_id()).close()


def test_another_machine_takes_over_with_the_identity(stoppable: RunningCollector, tmp_path: Path) -> None:
    """An empty folder becomes the collector that machines know, and their certificates go on to hold."""
    machine, spool_id = stoppable.enrol(), new_id()
    stream = machine.connect(spool_id)
    stream.deliver([machine.check_started()], first=1)
    stream.receive("acknowledged")
    made = backed_up(stoppable, tmp_path / "backup", "--with-identity")
    stoppable.stop()
    stoppable.folder = tmp_path / "elsewhere"
    assert "holds no collector" in on(stoppable, "restore", str(made)).stderr
    restored = on(stoppable, "restore", str(made), "--with-identity")
    assert restored.returncode == ExitCode.OK, restored.stderr
    stoppable.start()
    again = machine.connect(spool_id)
    assert again.welcome.watermark == 1
    again.close()


def test_a_backup_that_was_changed_is_refused(stoppable: RunningCollector, tmp_path: Path) -> None:
    """One flipped bit is found before anything is set aside."""
    made = backed_up(stoppable, tmp_path / "backup")
    stoppable.stop()
    content = bytearray((made / "llmenv.duckdb").read_bytes())
    content[len(content) // 2] ^= 1
    (made / "llmenv.duckdb").write_bytes(content)
    refused = on(stoppable, "restore", str(made))
    assert (refused.returncode, "not as it was written" in refused.stderr) == (ExitCode.FAILED, True)
    assert list(stoppable.folder.glob("*before-restore*")) == []
    assert on(stoppable, "restore", str(tmp_path)).stderr.startswith(
        f"llmenv-collector: {tmp_path} is not a backup"
    )


def test_a_stopped_collector_is_backed_up_too(stoppable: RunningCollector, tmp_path: Path) -> None:
    """Also one that was killed: its log is in the copy."""
    machine = stoppable.enrol()
    stream = machine.connect(new_id())
    stream.deliver([machine.check_started()], first=1)
    stream.receive("acknowledged")
    stoppable.stop(signal.SIGKILL)
    manifest = json.loads((backed_up(stoppable, tmp_path / "backup") / "manifest.json").read_text())
    assert manifest["contents"]["records"] == 1


@pytest.mark.parametrize(
    ("file", "place", "offered", "watermark"),
    [
        ("llmenv.duckdb", 9, "The newest backup is of", 1),
        ("llmenv.duckdb.wal", b"torch_basics", "Its last checkpoint is sound", 2),
        ("llmenv.duckdb.wal", 0, "Its last checkpoint is sound", 2),
    ],
    ids=["header", "value in the log", "beginning of the log"],
)
def test_a_damaged_database_is_kept_and_the_command_that_helps_is_named(
    stoppable: RunningCollector,
    tmp_path: Path,
    *,
    file: str,
    place: int | bytes,
    offered: str,
    watermark: int,
) -> None:
    """Nothing begins anew by itself; the command restores a sound one, and the agent delivers the rest."""
    machine, spool_id = stoppable.enrol(), new_id()
    records = [machine.check_started() for _ in range(12)]
    stream = machine.connect(spool_id)
    for number, record in enumerate(records, 1):
        stream.deliver([record], first=number)
        stream.receive("acknowledged")
        if number == 1:
            backed_up(stoppable, tmp_path / "backup")
        if number == 2:  # another backup, whose folder is gone when it is needed, and then another checkpoint
            shutil.rmtree(backed_up(stoppable, tmp_path / "lost"))
            stream.close()
            stoppable.stop()
            stoppable.start()
            stream = machine.connect(spool_id)
    stream.close()
    stoppable.stop(signal.SIGKILL)
    damage(stoppable.folder / file, place)

    refused = serve(stoppable)
    assert refused.returncode == ExitCode.DAMAGED
    assert offered in refused.stderr
    (kept,) = stoppable.folder.glob("llmenv.duckdb.damaged-*Z")
    assert str(kept) in refused.stderr
    for command in (("backup", str(tmp_path / "never")), ("migrate",)):  # neither makes an empty one
        done = run_command(*command, "--data", str(stoppable.folder))
        assert (done.returncode, "There is no database" in done.stderr) == (ExitCode.DAMAGED, True)
    again = serve(stoppable)
    assert (again.returncode, "There is no database" in again.stderr) == (ExitCode.DAMAGED, True)

    command = refused.stderr.strip().rpartition(": llmenv-collector ")[2].split()
    assert run_command(*command).returncode == ExitCode.OK
    stoppable.start()
    stream = machine.connect(spool_id)
    assert watermark == stream.welcome.watermark
    stream.deliver(records[watermark:], first=watermark + 1)
    assert stream.receive("acknowledged").watermark == len(records)
    stream.close()


def test_without_any_backup_an_empty_database_is_begun_only_when_asked_for(
    stoppable: RunningCollector,
) -> None:
    """And the agent brings everything that it holds."""
    machine, spool_id = stoppable.enrol(), new_id()
    record = machine.check_started()
    stream = machine.connect(spool_id)
    stream.deliver([record], first=1)
    stream.receive("acknowledged")
    stream.close()
    stoppable.stop()
    (stoppable.folder / "llmenv.duckdb").write_bytes(b"not a database" * 10_000)
    refused = serve(stoppable)
    assert (refused.returncode, "restore --empty" in refused.stderr) == (ExitCode.DAMAGED, True)
    assert on(stoppable, "restore", "--empty").returncode == ExitCode.OK
    stoppable.start()
    stream = machine.connect(spool_id)
    stream.deliver([record], first=1)
    assert stream.receive("acknowledged").watermark == 1
    stream.close()


def serve(collector: RunningCollector) -> subprocess.CompletedProcess[str]:
    return on(collector, "serve", "--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0")


def damage(path: Path, place: int | bytes) -> None:
    """One byte, at a place or of a value."""
    content = bytearray(path.read_bytes())
    content[place if isinstance(place, int) else content.index(place)] ^= 0xFF
    path.write_bytes(content)


def test_no_other_token_takes_a_snapshot(stoppable: RunningCollector) -> None:
    """The path of a copy is for an admin."""
    secret = stoppable.secret("--role", "analyst")
    with stoppable.people_channel() as channel, pytest.raises(grpc.RpcError) as refused:
        next(
            CollectorServiceStub(channel).TakeSnapshot(
                TakeSnapshotRequest(), metadata=[("authorization", f"Bearer {secret}")]
            )
        )
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
