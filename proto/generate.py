"""Generate the Python code and stubs of the contract, beside the .proto files.

Run by `make proto` in an environment of its own, since the generator must be
older than the runtimes that the code is to run under: code made by grpcio-tools
1.76.0 works with protobuf 6.31 to 7.x.  `--check` fails when the committed code
differs from what would be generated.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.resources
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PINNED = {"grpcio-tools": "1.76.0", "mypy-protobuf": "5.1.0"}
SUFFIXES = ("_pb2.py", "_pb2_grpc.py", "_pb2.pyi", "_pb2_grpc.pyi")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    require_pinned_versions()
    if not check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        differing = drift(Path(folder))
    for path in differing:
        print(f"{path}: not what the .proto files say; run `make proto`", file=sys.stderr)
    return 1 if differing else 0


def require_pinned_versions() -> None:
    for package, wanted in PINNED.items():
        found = importlib.metadata.version(package)
        if found != wanted:
            raise SystemExit(f"{package} is {found}; the contract is generated with {wanted}.")


def generate(target: Path) -> None:
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("llmenv/**/*.proto"))
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    out = [f"--{kind}_out={target}" for kind in ("python", "grpc_python")]
    out += [f"--{kind}_out=quiet:{target}" for kind in ("mypy", "mypy_grpc")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", f"-I{well_known}", *out, *sources]
    subprocess.run(command, check=True, cwd=ROOT)
    for service_free in target.glob("llmenv/**/*_pb2_grpc.py*"):
        if not is_service(service_free):
            service_free.unlink()


def is_service(generated: Path) -> bool:
    """protoc writes an empty gRPC module for every file; only services need one."""
    return generated.name.startswith(tuple(p.stem for p in ROOT.glob("llmenv/**/*_service.proto")))


def drift(fresh: Path) -> list[Path]:
    """Generated files that differ, are missing or are left over."""
    names = {path.relative_to(root) for root in (fresh, ROOT) for path in generated_files(root)}
    return sorted(name for name in names if content(fresh / name) != content(ROOT / name))


def generated_files(root: Path) -> list[Path]:
    return [path for path in root.glob("llmenv/**/*_pb2*") if path.name.endswith(SUFFIXES)]


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
