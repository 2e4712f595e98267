"""The generated code and the floors of its runtimes say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "proto" / "llmenv" / "fleet" / "v1"


def floor(package: str) -> str:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    return next(match[1] for item in dependencies if (match := re.match(rf"{package}>=([\d.]+)", item)))


def headers(pattern: str, files: str) -> set[str]:
    return {
        match[1]
        for path in GENERATED.glob(files)
        if (match := re.search(pattern, path.read_text("utf-8"))) is not None
    }


def test_protobuf_floor_is_the_one_in_the_headers() -> None:
    """Generated code refuses an older runtime, so the floor must be its own version."""
    assert headers(r"Protobuf Python Version: ([\d.]+)", "*_pb2.py") == {floor("protobuf")}


def test_grpc_floor_is_the_one_in_the_headers() -> None:
    """The same for the service code."""
    assert headers(r"GRPC_GENERATED_VERSION = '([\d.]+)'", "*_pb2_grpc.py") == {floor("grpcio")}


@pytest.mark.parametrize("proto", sorted(GENERATED.glob("*.proto")), ids=lambda path: path.stem)
def test_every_message_file_has_its_code_and_stubs(proto: Path) -> None:
    """A .proto file without code beside it was forgotten by `make proto`."""
    suffixes = ["_pb2.py", "_pb2.pyi"]
    if proto.stem.endswith("_service"):
        suffixes += ["_pb2_grpc.py", "_pb2_grpc.pyi"]
    missing = [suffix for suffix in suffixes if not (GENERATED / f"{proto.stem}{suffix}").exists()]
    assert missing == []
