"""`doctor`: each precondition is broken for real, and its line alone fails, with its remedy."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import record_pb2
from llmenv_agent.approval import Approval
from llmenv_agent.collector_schedules import CollectorSchedules
from llmenv_agent.doctor.admission import parse_offset
from llmenv_agent.doubled import Doubled
from llmenv_agent.identity import Identity, load_identity, save_identity
from llmenv_agent.quarantine import Entry, Subject
from llmenv_agent.run_lock import run_lock
from llmenv_agent.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import AgentFolder, RealCollector

STAND_INS = Path(__file__).parent / "stand_ins"
BIN = Path(sys.executable).parent
# A stand-in's agent that is not installed; what a plain interpreter lacks; nothing runs meanwhile.
USUAL = {"service": "warn", "agent": "warn", "packages plain": "warn", "device plain": "could-not-tell"}


@dataclass(frozen=True)
class Examined:
    """What doctor said, by the title of each line."""

    exit_code: int
    verdicts: dict[str, str]
    seen: dict[str, str]
    remedies: dict[str, str]

    def failing(self) -> list[str]:
        return [title for title, verdict in self.verdicts.items() if verdict == "fail"]


def parsed(done: subprocess.CompletedProcess[str]) -> Examined:
    assert done.returncode in {0, 1}, done.stderr
    findings = json.loads(done.stdout)["findings"]
    rows = [(f"{each['question']} {each['subject']}".rstrip(), each) for each in findings]
    return Examined(
        exit_code=done.returncode,
        verdicts={title: each["verdict"] for title, each in rows},
        seen={title: each["seen"] for title, each in rows},
        remedies={title: each["remedy"] for title, each in rows},
    )


@dataclass(frozen=True)
class Ward:
    """An agent with nothing wrong, beside a supervisor that has no service of it."""

    agent: AgentFolder

    @property
    def state(self) -> Path:
        return self.agent.path / "state"

    @property
    def address(self) -> str:
        return load_identity(self.state).agent_addresses[0]

    def variables(self) -> dict[str, str]:
        return {
            "PATH": f"{self.agent.path}:{os.environ['PATH']}",
            "HOME": str(self.agent.path),
            "STAND_IN_FOLDER": str(self.agent.path),
            "STAND_IN_UNITS": str(self.agent.path / ".config" / "systemd" / "user"),
        }

    def examine(self, *options: str, **variables: str) -> Examined:
        return parsed(
            self.agent.call("doctor", "--format", "json", *options, **self.variables(), **variables)
        )

    def examine_by(self, prefix: list[str]) -> Examined:
        """Through another program that changes what the process may do or see."""
        command = [*prefix, str(BIN / "llmenv-agent"), "doctor", "--format", "json"]
        return parsed(
            subprocess.run(
                command,
                env={**self.agent.environment, **self.variables()},
                capture_output=True,
                text=True,
                timeout=240,
                check=False,
            )
        )

    def identify(self, **changes: Any) -> Identity:
        """Store the identity with changes."""
        identity = dataclasses.replace(load_identity(self.state), **changes)
        save_identity(self.state, identity)
        return identity


@pytest.fixture
def ward(enrolled: AgentFolder) -> Ward:
    script = enrolled.path / "systemctl"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_INS / "systemctl"}.py "$@"\n')
    script.chmod(0o755)
    return Ward(enrolled)


@pytest.fixture
def spool(ward: Ward) -> Path:
    """Three records that were never sent."""
    path = ward.state / "spool.db"
    with contextlib.closing(Spool(path, machine_id=load_identity(ward.state).machine_id)) as spool:
        for _ in range(3):
            spool.append(record_pb2.Record(check_started=record_pb2.CheckStarted(check_name="x")))
    return path


def test_a_sound_agent(ward: Ward, spool: Path) -> None:
    """Nothing fails, and each line says what was tried."""
    found = ward.examine()
    others = {title: verdict for title, verdict in found.verdicts.items() if verdict != "pass"}
    assert (found.exit_code, others) == (0, USUAL)
    assert "127.0.0.1" in found.seen[f"name {ward.address}"]
    assert found.seen["delivery"] == "3 records: 0 stored, 0 rejected, 3 waiting, 0 dropped."
    assert found.seen["clock"].startswith("The collector's clock minus this one's is ")
    assert "29 days" in found.seen["certificate"]


def test_a_table_names_the_remedy_below_its_line(ward: Ward) -> None:
    """In both languages."""
    english = ward.agent.call("doctor", **ward.variables(), COLUMNS="100").stdout
    assert "\nQUESTION" in f"\n{english}"
    assert "    Remedy: llmenv-agent service install." in english
    assert "0 fail" in english.splitlines()[-1]
    chinese = ward.agent.call("doctor", "--lang", "zh", **ward.variables(), COLUMNS="100").stdout
    assert "    处理办法: llmenv-agent service install。" in chinese
    assert "0 失败" in chinese.splitlines()[-1]
    markdown = ward.agent.call("doctor", "--format", "md", **ward.variables()).stdout
    assert markdown.startswith("| QUESTION | VERDICT | SEEN | Remedy |\n| --- | --- | --- | --- |\n")


def test_a_wrong_key_in_the_configuration(ward: Ward) -> None:
    """With its file and line; what needs the configuration is not tried."""
    ward.agent.configure("[agent]\nspeed = 3\n")
    found = ward.examine()
    assert (found.exit_code, found.failing()) == (1, ["configuration"])
    assert "agent.toml:2: agent.speed is not known here" in found.seen["configuration"]
    assert found.remedies["configuration"].startswith("Correct ")
    assert set(found.verdicts.values()) == {"fail", "could-not-tell"}


def test_a_machine_that_is_not_enrolled(agent: AgentFolder) -> None:
    """The one thing to do first."""
    found = Ward(agent).examine()
    assert found.failing() == ["identity"]
    assert "llmenv-agent enroll" in found.remedies["identity"]
    assert not (agent.path / "state").exists()


def test_a_damaged_identity(ward: Ward) -> None:
    """Half a file is no identity."""
    (ward.state / "identity.json").write_text('{"machine_id": ')
    found = ward.examine()
    assert found.failing() == ["identity"]
    assert "is damaged" in found.seen["identity"]


def test_a_key_of_another_certificate(ward: Ward) -> None:
    """As when two identities were mixed by hand."""
    ward.identify(key_pem=pem_of(ec.generate_private_key(ec.SECP256R1())))
    found = ward.examine()
    assert found.failing() == ["identity"]
    assert "its key is not that of its certificate" in found.seen["identity"]
    assert found.remedies["identity"] == "Enrol anew: llmenv-agent enroll --replace."


@pytest.mark.parametrize(("days", "verdict"), [(-2, "fail"), (3, "warn")])
def test_a_certificate_that_ends(ward: Ward, real_collector: RealCollector, days: int, verdict: str) -> None:
    """Signed by the real authority; one that ended is not offered to the collector as if it might do."""
    ward.identify(**signed_again(ward, real_collector.data, days=days))
    found = ward.examine()
    assert found.verdicts["certificate"] == verdict
    assert found.failing() == (["certificate"] if days < 0 else [])
    assert "renews it" in found.remedies["certificate"]
    assert found.verdicts[f"tls {ward.address}"] == "pass"
    assert found.verdicts["admission"] == ("could-not-tell" if days < 0 else "pass")


def test_a_collector_of_another_authority(ward: Ward) -> None:
    """Somebody else in its place, or one that was set up anew."""
    stranger = ec.generate_private_key(ec.SECP256R1())
    ward.identify(ca_pem=certificate(stranger, stranger, days=30).decode())
    found = ward.examine()
    assert found.failing() == [f"tls {ward.address}"]
    assert "is not one of the enrolled collector" in found.seen[f"tls {ward.address}"]
    assert "Compare this machine's clock" in found.remedies[f"tls {ward.address}"]


def test_a_name_that_cannot_be_resolved(ward: Ward) -> None:
    """The steps after it are not tried."""
    ward.identify(agent_addresses=("no-such-host.invalid:7444",))
    found = ward.examine()
    assert found.failing() == ["name no-such-host.invalid:7444"]
    assert "/etc/hosts" in found.remedies["name no-such-host.invalid:7444"]
    assert found.verdicts["tls no-such-host.invalid:7444"] == "could-not-tell"


def test_a_port_that_is_closed(ward: Ward) -> None:
    """Nothing listens there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    ward.identify(agent_addresses=(address,))
    found = ward.examine()
    assert found.failing() == [f"connection {address}"]
    assert "llmenv-collector serve" in found.remedies[f"connection {address}"]


def test_one_address_of_two_is_enough(ward: Ward) -> None:
    """The agent goes on to the next address, so the broken one is a warning."""
    ward.identify(agent_addresses=("no-such-host.invalid:7444", ward.address))
    found = ward.examine()
    assert (found.failing(), found.verdicts["name no-such-host.invalid:7444"]) == ([], "warn")
    assert found.verdicts["admission"] == "pass"


def test_something_else_that_listens(ward: Ward) -> None:
    """It speaks, and not TLS."""
    with speaking(b"SSH-2.0-OpenSSH_9.6\r\n") as port:
        ward.identify(agent_addresses=(f"localhost:{port}",))
        found = ward.examine()
    assert found.failing() == [f"tls localhost:{port}"]
    assert "does not speak TLS" in found.seen[f"tls localhost:{port}"]


def test_a_name_that_the_collectors_certificate_lacks(ward: Ward) -> None:
    """The collector, reached by an address for which it was not certified."""
    port = int(ward.address.rpartition(":")[2])
    with forwarding("127.0.0.2", port) as forwarded:
        ward.identify(agent_addresses=(f"127.0.0.2:{forwarded}",))
        found = ward.examine()
    assert found.failing() == [f"tls 127.0.0.2:{forwarded}"]
    assert "--advertise 127.0.0.2" in found.remedies[f"tls 127.0.0.2:{forwarded}"]


def test_a_revoked_machine(ward: Ward, real_collector: RealCollector) -> None:
    """Its certificate is good, and the collector admits it no more."""
    machine = load_identity(ward.state).machine_id
    subprocess.run(
        [BIN / "llmenv-collector", "machine", "revoke", machine, "--data", real_collector.data],
        check=True,
        capture_output=True,
        timeout=180,
    )
    found = ward.examine()
    assert found.failing() == ["admission"]
    assert "does not admit machine" in found.seen["admission"]
    assert "llmenv-collector machine list" in found.remedies["admission"]


@pytest.mark.parametrize(("seconds", "verdict"), [(600, "warn"), (-7_200, "fail")])
def test_a_clock_that_is_off(
    ward: Ward, real_collector: RealCollector, tmp_path: Path, seconds: int, verdict: str
) -> None:
    """A collector of the same authority whose clock is another."""
    with shifted_collector(real_collector.data, tmp_path / "shifted", seconds=seconds) as address:
        ward.identify(agent_addresses=(address,))
        found = ward.examine()
    assert found.verdicts["clock"] == verdict, found.seen
    assert found.failing() == (["clock"] if verdict == "fail" else [])
    seen = float(found.seen["clock"].partition(" is ")[2].partition(" s,")[0])
    assert seen == pytest.approx(seconds, abs=60)
    assert "by NTP" in found.remedies["clock"]


def test_an_offset_is_taken_from_the_middle_of_an_exchange() -> None:
    """Asked at 10, answered at 12: the collector's 21 is 10 s ahead of 11."""
    assert parse_offset("21000000", asked_at=10.0, answered_at=12.0) == pytest.approx(10.0)
    assert parse_offset(None, asked_at=10.0, answered_at=12.0) is None


def test_a_spool_that_cannot_be_read(ward: Ward, spool: Path) -> None:
    """Root reads everything, so root is asked without that right."""
    prefix = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv to give up a right of root's")
        prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    spool.chmod(0)
    found = ward.examine_by(prefix)
    assert found.failing() == ["spool"]
    assert "Run as the owner of" in found.remedies["spool"]


def test_a_spool_with_a_damaged_page(ward: Ward, spool: Path) -> None:
    """SQLite reads every page of it."""
    with contextlib.closing(sqlite3.connect(spool)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = file.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'exceptional_record'"
        ).fetchone()
    with spool.open("r+b") as file:
        file.seek((page - 1) * 4_096)
        file.write(b"\xff" * 4_096)
    found = ward.examine()
    assert found.failing() == ["spool"]
    assert "keep it" in found.remedies["spool"]


@pytest.mark.parametrize(("mebibytes", "fill", "verdict"), [(4, True, "fail"), (100, False, "warn")])
def test_a_disk_with_no_room(ward: Ward, spool: Path, mebibytes: int, fill: bool, verdict: str) -> None:
    """A small disk in a namespace of its own, full or nearly so."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root and unshare to mount a small disk")
    steps = [
        'cp -a "$0" "$0.copy"',
        f'mount -t tmpfs -o size={mebibytes}m,mode=700 tmpfs "$0"',
        'cp -a "$0.copy/." "$0"',
        'head -c 8M /dev/zero > "$0/filler" 2>/dev/null || true' if fill else "true",
        'exec "$@"',
    ]
    script = ["unshare", "--mount", "sh", "-ec", "\n".join(steps), str(ward.state)]
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    found = ward.examine_by(script)
    assert found.verdicts["disk"] == verdict
    assert found.failing() == (["disk"] if verdict == "fail" else [])
    assert "room" in found.remedies["disk"]


def test_records_that_wait_for_days(ward: Ward, spool: Path) -> None:
    """They are there, and nobody fetches them."""
    with contextlib.closing(sqlite3.connect(spool)) as file, file:
        file.execute("UPDATE record SET spooled_at = ?", (time.time() - 3 * 86_400,))
    found = ward.examine()
    assert (found.verdicts["delivery"], found.failing()) == ("warn", [])
    assert found.seen["delivery"] == "3 records wait, the oldest for 72.0 hours."
    assert found.remedies["delivery"].startswith("Start the agent")


def test_dead_letters(ward: Ward, spool: Path) -> None:
    """The last reason is shown."""
    with contextlib.closing(Spool(spool)) as opened:
        opened.offer_after(0)
        opened.reject(2, reason="run_id is no UUID.")
    found = ward.examine()
    assert found.seen["dead_letters"].endswith(
        "refused 1 records for good, the last because: run_id is no UUID."
    )
    assert "dead-letters list" in found.remedies["dead_letters"]


def test_a_state_directory_of_somebody_else(ward: Ward, spool: Path) -> None:
    """Nothing in it is opened: a file made there would keep its owner's agent from starting."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(ward.state, 65_534, 65_534)
    before = sorted(ward.state.iterdir())
    found = ward.examine()
    assert found.failing() == ["state_dir"]
    assert f"chown -R root '{ward.state}'" in found.remedies["state_dir"]
    assert sorted(ward.state.iterdir()) == before


def test_a_key_that_others_can_read(ward: Ward) -> None:
    """The mode is said, and how to mend it."""
    (ward.state / "identity.json").chmod(0o644)
    found = ward.examine()
    assert found.failing() == ["file_mode identity.json"]
    assert "(mode 644)" in found.seen["file_mode identity.json"]
    assert "chmod 600" in found.remedies["file_mode identity.json"]


def test_a_target_that_is_gone(ward: Ward) -> None:
    """As after an environment was deleted."""
    ward.agent.configure('[[target]]\nname = "gone"\npython = "/nowhere/.venv"\n')
    found = ward.examine()
    assert found.failing() == ["target gone"]
    assert "[[target]]" in found.remedies["target gone"]


def test_a_target_that_does_not_start(ward: Ward) -> None:
    """It is there, can be executed, and is no Python."""
    broken = ward.agent.path / "broken-python"
    broken.write_text("#!/bin/sh\necho its library is missing >&2\nexit 127\n")
    broken.chmod(0o755)
    ward.agent.configure(f'[[target]]\nname = "broken"\npython = "{broken}"\n')
    found = ward.examine()
    assert found.failing() == ["packages broken"]
    assert "its library is missing" in found.seen["packages broken"]
    assert "build the environment anew" in found.remedies["packages broken"]


def test_no_target_at_all(ward: Ward) -> None:
    """There would be nothing to check."""
    ward.agent.configure("[agent]\n")
    found = ward.examine()
    assert found.failing() == ["target"]


@pytest.mark.training
def test_a_device_that_is_not_there(ward: Ward, training_python: Path) -> None:
    """One addition is tried, in a process of the target; a flag is not asked."""
    if sys.platform == "darwin":
        pytest.skip("MPS is there")
    target = f'[[target]]\nname = "training"\npython = "{training_python}"\n'
    ward.agent.configure(target)
    assert ward.examine().verdicts["device training"] == "pass"
    ward.agent.configure(f'[agent]\ndevice = "mps"\n{target}')
    found = ward.examine()
    assert found.failing() == ["device training"]
    assert "MPS cannot be used by torch" in found.seen["device training"]
    assert "--check fallback" in found.remedies["device training"]


def test_a_run_lock_that_is_a_link(ward: Ward) -> None:
    """It is not followed, so no run could begin."""
    lock = ward.agent.path / "run.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to("/etc/hostname")
    found = ward.examine()
    assert found.failing() == ["run_lock"]
    assert "Remove" in found.remedies["run_lock"]


def test_a_run_in_progress(ward: Ward) -> None:
    """Its holder is named, and the device is left to it."""
    with run_lock("llmenv-agent check", path=ward.agent.path / "run.lock"):
        found = ward.examine()
    assert found.seen["run_lock"].endswith(f"pid {os.getpid()}, llmenv-agent check.")
    assert found.seen["device plain"] == f"Not tried: a run is in progress (pid {os.getpid()})."


def test_another_agent_with_this_identity(ward: Ward) -> None:
    """What the collector said last is not forgotten, and the way out is named."""
    assert "copies" not in ward.examine().verdicts
    Doubled(ward.state).note(True)
    found = ward.examine()
    assert found.failing() == ["copies"]
    assert "was this disk cloned" in found.seen["copies"]
    assert "enroll --replace" in found.remedies["copies"]


def test_a_machine_that_waits_for_approval(ward: Ward) -> None:
    """It warns for as long as the collector says so; `status` says it too."""
    approval = Approval(ward.state)
    approval.note("This machine waits for approval.")
    found = ward.examine()
    assert (found.failing(), found.verdicts["approval"]) == ([], "warn")
    assert "machine approve" in found.remedies["approval"]
    status = subprocess.run(
        [BIN / "llmenv-agent", "status", "--state-dir", ward.state],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "not approved     since" in status.stdout
    approval.note("")
    assert "approval" not in ward.examine().verdicts


def test_a_check_in_quarantine(ward: Ward) -> None:
    """With the way to try it now."""
    subject = Subject(
        check="ops", target="plain", definition_hash="d", environment_hash="e", system="s", agent="a"
    )
    entry = Entry(subject=subject, in_a_row=3, cause="crash", until=time.time() + 3_600)
    (ward.state / "quarantine.json").write_text(json.dumps([dataclasses.asdict(entry)]))
    found = ward.examine()
    assert found.verdicts["quarantine ops in plain"] == "warn"
    assert "llmenv-agent check --check ops --target plain" in found.remedies["quarantine ops in plain"]


def test_a_schedule_that_cannot_be_run(ward: Ward) -> None:
    """With the reason; what counts is said beside it."""
    path, machine_id = ward.state / "collector_schedules.json", load_identity(ward.state).machine_id
    odd = wire.Schedule(name="odd", schedule_id="1", every_seconds=60, run_checks={"suite": "no-such-suite"})
    CollectorSchedules(path, machine_id=machine_id).take(wire.Schedules(schedules=[odd]))
    found = ward.examine()
    assert (found.verdicts["schedule odd"], found.verdicts["schedule"]) == ("warn", "pass")
    assert "There is no suite 'no-such-suite'" in found.seen["schedule odd"]
    assert "Schedules that count here: 1. quick starts next, at 2" in found.seen["schedule"]


def test_an_agent_and_its_service(ward: Ward) -> None:
    """Running, then removed, then with an interpreter that is gone."""
    environment = {**ward.variables(), "TMPDIR": str(ward.agent.path)}
    ward.agent.configure(
        f'[[target]]\nname = "plain"\npython = "{sys.executable}"\n[schedule.full]\nat = "0 3 1 1 *"\n'
    )
    done = ward.agent.call("service", "install", "--user", **environment)
    assert done.returncode == 0, done.stderr
    try:
        wait_for(lambda: ward.examine().verdicts["agent"] == "pass")
        found = ward.examine()
        assert (found.verdicts["service"], found.failing()) == ("pass", [])
    finally:
        stopped = ward.agent.call("service", "uninstall", "--user", **environment)
    assert stopped.returncode == 0, stopped.stderr
    unit = ward.agent.path / ".config" / "systemd" / "user" / "llmenv-agent.service"
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text("[Service]\nExecStart=/gone/python -m x\n")
    found = ward.examine()
    assert found.failing() == ["service"]
    assert "/gone/python, which is not there" in found.seen["service"]
    assert found.remedies["service"].startswith("llmenv-agent service install")


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


def certificate(
    key: ec.EllipticCurvePrivateKey,
    signing: ec.EllipticCurvePrivateKey,
    *,
    days: float,
    machine_id: str = "",
    issuer: x509.Name | None = None,
) -> bytes:
    """PEM, valid from 30 days ago until in `days`; of a CA where it is of no machine."""
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, machine_id or "a stranger's CA")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer or name)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=30)).not_valid_after(
        now + dt.timedelta(days=days)
    )
    if machine_id:
        uri = x509.UniformResourceIdentifier(f"llmenv://machine/{machine_id}")
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=not machine_id, path_length=None), critical=True)
    return builder.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def signed_again(ward: Ward, data: Path, *, days: float) -> dict[str, str]:
    """The same machine and key with another end of validity, signed by the collector's own authority."""
    identity = load_identity(ward.state)
    authority = serialization.load_pem_private_key((data / "ca-key.pem").read_bytes(), password=None)
    key = serialization.load_pem_private_key(identity.key_pem.encode(), password=None)
    assert isinstance(authority, ec.EllipticCurvePrivateKey)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(identity.ca_pem.encode()).subject
    pem = certificate(key, authority, days=days, machine_id=identity.machine_id, issuer=issuer)
    return {"certificate_pem": pem.decode()}


@contextlib.contextmanager
def speaking(words: bytes) -> Iterator[int]:
    """A server that says something to everybody and hangs up; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(words)
                        connection.recv(4_096)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def forwarding(host: str, port: int) -> Iterator[int]:
    """Everything said to the port that is given goes to localhost's `port`, and back."""
    with socket.create_server((host, 0)) as server:

        def pass_on(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while chunk := source.recv(65_536):
                    sink.sendall(chunk)
                sink.shutdown(socket.SHUT_WR)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = server.accept()
                    far = socket.create_connection(("127.0.0.1", port))
                    for ends in ((near, far), (far, near)):
                        threading.Thread(target=pass_on, args=ends, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def shifted_collector(data: Path, copy: Path, *, seconds: int) -> Iterator[str]:
    """A collector with a copy of the other's authority and identities, whose clock is `seconds` ahead."""
    subprocess.run([BIN / "llmenv-collector", "init", "--data", copy], check=True, capture_output=True)
    for name in ("ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "identity.db", "identity.db-wal"):
        if (data / name).exists():
            shutil.copy2(data / name, copy)
    code = (
        "import sys\nfrom llmenv_collector import clock, main\nnow = clock.now\n"
        f"clock.now = lambda: now() + {seconds} * 1_000_000\nsys.exit(main.main())"
    )
    listen = ["--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"]
    with (copy / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--data", str(copy), *listen], stderr=log
        )
    try:
        wait_for(lambda: (copy / "serving.json").exists() or process.poll() is not None)
        assert process.poll() is None, (copy / "log").read_text()
        address: str = json.loads((copy / "serving.json").read_text())["agents_address"]
        yield address
    finally:
        process.terminate()
        process.wait(90)
