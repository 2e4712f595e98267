"""What lies in deploy/ is well formed, and says of the programs only what they are.

Linted with what is installed: each linter that is missing is a test that is skipped and says so.
"""

from __future__ import annotations

import configparser
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from llmenv_collector.exit_codes import ExitCode
from llmenv_collector.main import cli
from llmenv_collector.settings import DEFAULT_PORTS, Settings, load

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
DOCKERFILE = DEPLOY / "container" / "Dockerfile"
COMPOSE = DEPLOY / "container" / "compose.yaml"
LAKE = DEPLOY / "container" / "compose.lake.yaml"
MANIFEST = DEPLOY / "kubernetes" / "collector.yaml"
HAPROXY = DEPLOY / "haproxy" / "haproxy.cfg"
UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
PROGRAM = "/opt/llmenv/bin/llmenv-collector"
# Of no setting, but variables of the programs all the same.
OTHER_VARIABLES = {"LLMENV_DATA_DIR"}
PLACE_HOLDERS = {
    "COLLECTOR_HOST": "collector.lab.example",
    "CATALOG_PASSWORD": "open-sesame",
    "BUCKET_SECRET": "open-barley",
}


def called(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def require(program: str) -> str:
    """Where it is; skips the test that needs it."""
    found = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def compose(file: Path = COMPOSE) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    loaded: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return loaded


def manifest() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))


def pod() -> dict[str, Any]:
    (stateful_set,) = [one for one in manifest() if one["kind"] == "StatefulSet"]
    found: dict[str, Any] = stateful_set["spec"]["template"]["spec"]
    return found


def unit(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def environments() -> dict[str, dict[str, str]]:
    """Variables that each file gives a collector, by where."""
    image = re.search(
        r"^ENV (.*?[^\\])$", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    assert image
    by_unit = {path.name: dict([unit(path)["Service"]["Environment"].split("=", 1)]) for path in SERVICES}
    return {
        "image": dict(word.split("=", 1) for word in image[1].replace("\\\n", " ").split()),
        "compose": compose()["services"]["collector"]["environment"],
        "lake": compose(LAKE)["services"]["collector"]["environment"],
        "kubernetes": {one["name"]: one["value"] for one in pod()["containers"][0]["env"]},
        **by_unit,
    }


def test_every_variable_is_one_that_a_collector_reads() -> None:
    """A misspelt one would be ignored without a word."""
    known = {f"LLMENV_{field.name.upper()}" for field in dataclasses.fields(Settings)} | OTHER_VARIABLES
    for where, variables in environments().items():
        unknown = {name for name in variables if name.startswith("LLMENV_")} - known
        assert not unknown, f"{where}: {unknown}"


def test_the_settings_of_the_image_load_with_those_of_compose_and_kubernetes(tmp_path: Path) -> None:
    """Both ports are listened on at all addresses, and others are told the lab's name."""
    all_of_them = environments()
    for where in ("compose", "kubernetes"):
        variables = {**all_of_them["image"], **all_of_them[where]}
        settled = {name: _interpolated(value) for name, value in variables.items()}
        settings = load(tmp_path / "collector.toml", flags={}, environment=settled)
        assert settings.listen == f"0.0.0.0:{DEFAULT_PORTS['listen']}"
        assert settings.agents_listen == f"0.0.0.0:{DEFAULT_PORTS['agents_listen']}"
        assert settings.advertise == "collector.lab.example"


def _interpolated(text: str) -> str:
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: PLACE_HOLDERS[match[1]], text)


def test_a_lake_is_where_its_services_are(tmp_path: Path) -> None:
    """The catalog and the bucket that the collector is told are those beside it, secrets too."""
    services = compose(LAKE)["services"]
    told = {name: _interpolated(value) for name, value in services["collector"]["environment"].items()}
    settings = load(tmp_path / "collector.toml", flags={}, environment=told)
    assert settings.store == "ducklake"
    catalog = services["catalog"]["environment"]
    password, database = _interpolated(catalog["POSTGRES_PASSWORD"]), catalog["POSTGRES_DB"]
    assert settings.lake_catalog == f"postgresql://{catalog['POSTGRES_USER']}:{password}@catalog/{database}"
    (volume,) = services["bucket"]["volumes"]
    folder = Path(services["bucket"]["command"][-1])
    bucket = settings.lake_data.removeprefix("s3://").partition("/")[0]
    assert volume.partition(":")[2] == str(folder / bucket)
    listens = services["bucket"]["command"][services["bucket"]["command"].index("--port") + 1]
    assert told["AWS_ENDPOINT_URL_S3"] == f"http://bucket{listens}"
    keys = {name: _interpolated(value) for name, value in services["bucket"]["environment"].items()}
    assert keys["ROOT_ACCESS_KEY"] == told["AWS_ACCESS_KEY_ID"]
    assert keys["ROOT_SECRET_KEY"] == told["AWS_SECRET_ACCESS_KEY"]
    extras = services["collector"]["build"]["args"]["EXTRAS"].split(",")
    assert set(extras) <= set(_extras())
    assert set(compose(LAKE)["volumes"]) == {"catalog", "bucket"}


def _extras() -> dict[str, Any]:
    pyproject = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, Any] = pyproject["project"]["optional-dependencies"]
    return found


def test_ports_are_those_of_the_collector() -> None:
    """In the image, the published ones, those of the pod, the service, and the balancer."""
    ports = sorted(DEFAULT_PORTS.values())
    exposed = re.search(r"^EXPOSE (.*)$", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert exposed
    assert sorted(int(port) for port in exposed[1].split()) == ports
    assert sorted(compose()["services"]["collector"]["ports"]) == [f"{port}:{port}" for port in ports]
    named = {one["name"]: one["containerPort"] for one in pod()["containers"][0]["ports"]}
    assert named == {
        "people": DEFAULT_PORTS["listen"],
        "agents": DEFAULT_PORTS["agents_listen"],
        "metrics": 9464,
    }
    balanced = next(one for one in manifest() if one["spec"].get("type") == "LoadBalancer")
    assert {one["targetPort"]: one["port"] for one in balanced["spec"]["ports"]} == {
        name: port for name, port in named.items() if name != "metrics"
    }
    text = HAPROXY.read_text(encoding="utf-8")
    assert sorted({int(port) for port in re.findall(r"^\s+bind :(\d+)$", text, flags=re.MULTILINE)}) == ports
    assert f"check port {DEFAULT_PORTS['listen']} " in text


def test_what_is_started_is_a_command_of_the_collector() -> None:
    """Words after the program are known commands, and flags known flags."""
    lines = [unit(path)["Service"]["ExecStart"].removeprefix(f"{PROGRAM} ") for path in SERVICES]
    image = DOCKERFILE.read_text(encoding="utf-8")
    started = re.search(r"^CMD (.*)$", image, flags=re.MULTILINE)
    assert started
    assert 'ENTRYPOINT ["llmenv-collector"]' in image
    shells = [compose()["services"]["made"]["entrypoint"][2], pod()["initContainers"][0]["command"][2]]
    lines += [" ".join(json.loads(started[1])), *(one.partition("llmenv-collector ")[2] for one in shells)]
    for line in lines:
        words = line.split()
        command = cli.get_command(click.Context(cli), words[0])
        assert command is not None, line
        options = {name for option in command.params for name in option.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_a_collector_that_a_person_has_to_look_at_is_not_started_again() -> None:
    """Wrong settings and a damaged database are not mended by another start."""
    service = unit(DEPLOY / "systemd" / "llmenv-collector.service")["Service"]
    codes = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert codes == {ExitCode.USAGE, ExitCode.DAMAGED}


def test_nobody_is_root_and_no_token_is_in_a_log() -> None:
    """What `init` prints is an admin token."""
    assert re.search(r"^USER \d+:\d+$", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert all(unit(path)["Service"]["User"] == "llmenv" for path in SERVICES)
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert compose()["services"]["made"]["entrypoint"][2].endswith(">/dev/null")
    assert pod()["initContainers"][0]["command"][2].endswith(">/dev/null")


def test_the_image_is_made_of_what_the_wheel_is_made_of() -> None:
    """Whatever pyproject.toml packs, or reads for it, is let into the build."""
    allowed = {
        line.removeprefix("!")
        for line in DOCKERFILE.with_name("Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    pyproject = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"^packages = \[(.*)\]$", pyproject, flags=re.MULTILINE)
    assert packages
    assert {*json.loads(f"[{packages[1]}]"), "pyproject.toml", "README.md", "LICENSE"} == allowed
    assert all((REPOSITORY / path).exists() for path in allowed)


def test_the_container_file_has_no_finding() -> None:
    """Of hadolint."""
    linted = called(require("hadolint"), DOCKERFILE)
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("file", [COMPOSE, LAKE], ids=["file", "lake"])
def test_compose_is_of_the_specification(file: Path) -> None:
    """Keys and their values; merges are resolved before, as Compose does."""
    specification = pytest.importorskip("compose_spec")
    known = specification.PyCompose.from_json(json.dumps(compose(file)))
    assert set(known.service_names()) == set(compose(file)["services"])
    with pytest.raises(ValueError, match="nonsense"):
        specification.PyCompose.from_json(json.dumps({"services": {"a": {"image": "a", "nonsense": 1}}}))


def test_the_manifest_is_of_the_schemas_of_kubernetes() -> None:
    """Strictly, so that a misspelt key is one too many."""
    schemas = pytest.importorskip("kubernetes_validate")
    for document in manifest():
        schemas.validate(document, schemas.latest_version(), strict=True)
    with pytest.raises(schemas.ValidationError):
        schemas.validate({**manifest()[0], "nonsense": 1}, schemas.latest_version(), strict=True)


def test_selectors_of_the_manifest_find_its_pods() -> None:
    """Which no schema can tell."""
    (stateful_set,) = [one for one in manifest() if one["kind"] == "StatefulSet"]
    labels = stateful_set["spec"]["template"]["metadata"]["labels"]
    services = {one["metadata"]["name"]: one["spec"] for one in manifest() if one["kind"] == "Service"}
    assert all(service["selector"] == labels for service in services.values())
    assert stateful_set["spec"]["selector"]["matchLabels"] == labels
    assert stateful_set["spec"]["serviceName"] in services
    claims = {one["metadata"]["name"] for one in stateful_set["spec"]["volumeClaimTemplates"]}
    volumes = claims | {one["name"] for one in pod()["volumes"]}
    for container in (*pod()["initContainers"], *pod()["containers"]):
        assert {one["name"] for one in container["volumeMounts"]} == volumes


def test_units_are_of_systemd(tmp_path: Path) -> None:
    """systemd-analyze wants the program to be there, so a program stands in for it."""
    analyze = require("systemd-analyze")
    copies = []
    for path in UNITS:
        copy = tmp_path / path.name
        copy.write_text(path.read_text(encoding="utf-8").replace(PROGRAM, sys.executable), encoding="utf-8")
        copies.append(copy)
    # Without a runtime folder it warns of things that are not ours.
    verified = subprocess.run(
        [analyze, "verify", "--man=no", *copies],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    ours = [line for line in verified.stderr.splitlines() if "llmenv" in line]
    assert (verified.returncode, ours) == (0, [])


def test_the_balancer_would_start() -> None:
    """HAProxy reads its configuration and finds nothing wrong, not even a warning."""
    checked = called(require("haproxy"), "-c", "-V", "-f", HAPROXY)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


def test_the_balancer_is_patient_with_streams_that_only_ping() -> None:
    """Both sides ping more often than it ends what is silent, and it never ends what is not."""
    from llmenv_agent.connection import OPTIONS as AGENT
    from llmenv_collector.serving.ports import OPTIONS as COLLECTOR

    text = HAPROXY.read_text(encoding="utf-8")
    idle = {
        name: int(minutes) * 60_000 for name, minutes in re.findall(r"timeout (client|server) (\d+)m", text)
    }
    assert set(idle) == {"client", "server"}
    slowest = max(dict(AGENT)["grpc.keepalive_time_ms"], dict(COLLECTOR)["grpc.keepalive_time_ms"])
    assert min(idle.values()) >= 2 * slowest
    assert "timeout tunnel" not in text
    assert "mode tcp" in text
