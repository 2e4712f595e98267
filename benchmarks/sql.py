"""How fast an analyst gets rows: our Flight SQL, Arrow's own Flight server, and DuckDB in the same process.

The same query, the same client (pyarrow's), TLS on loopback for both servers, in turn. Our statement runs in
a process of its own, on a snapshot; Arrow's server, written in C++, reads from a DuckDB within it and guards
nothing. The last line is JSON: our rate as a share of Arrow's.
"""

from __future__ import annotations

import argparse
import datetime as dt
import ipaddress
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.any_pb2 import Any as AnyMessage
from llmenv.arrow_flight import flight_sql_pb2
from llmenv.printed_token import PrintedToken
from pyarrow import flight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TARGET = 0.6
COLLECTOR = [sys.executable, "-m", "llmenv_collector.main"]
SERVER = Path(__file__).with_name("processes") / "arrow_flight_server.py"
QUERY = """
SELECT range AS sequence, range * 2.5 AS value, TIMESTAMPTZ '2026-01-01' + to_seconds(range) AS measured_at,
       'measurement ' || (range % 1000) AS name, range % 7 = 0 AS is_warm
FROM range({rows})
"""


@dataclass(frozen=True)
class Taken:
    """One reading of the whole answer."""

    first_row: float
    """Seconds."""
    whole: float
    """Seconds."""
    size: int
    """Bytes of Arrow."""

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.whole


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200,000 rows, 3 rounds")
    options = parser.parse_args()
    rows, rounds = (200_000, 3) if options.quick else (1_000_000, 15)
    query = QUERY.format(rows=rows)
    with (
        tempfile.TemporaryDirectory() as folder,
        ours(Path(folder)) as one,
        arrows(Path(folder), query) as other,
    ):
        ways: dict[str, Callable[[], Taken]] = {
            "llmenv": lambda: by_flight(*one, query),
            "pyarrow.flight": lambda: by_flight(*other, query),
            "DuckDB in process": lambda: in_process(query),
        }
        for way in ways.values():
            way()  # warm-up
        taken = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                taken[name].append(way())
    show(taken, rows=rows, rounds=rounds)
    return 0


def show(taken: dict[str, list[Taken]], *, rows: int, rounds: int) -> None:
    print(f"{rows:,} rows, {taken['llmenv'][0].size / 1e6:.0f} MB of Arrow, medians of {rounds} rounds")
    print(f"{'':18} {'MB/s':>8} {'first row':>10} {'whole':>8}")
    for name, each in taken.items():
        rate = statistics.median(one.rate for one in each) / 1e6
        first = statistics.median(one.first_row for one in each)
        whole = statistics.median(one.whole for one in each)
        print(f"{name:18} {rate:8.0f} {first:8.3f} s {whole:6.3f} s")
    share = statistics.median(
        one.rate / other.rate for one, other in zip(taken["llmenv"], taken["pyarrow.flight"], strict=True)
    )
    figure = {
        "benchmark": "sql",
        "figure": round(share, 3),
        "unit": "ratio",
        "target": f">= {TARGET}",
        "holds": share >= TARGET,
    }
    print(json.dumps(figure))


@contextmanager
def ours(folder: Path) -> Iterator[tuple[Any, Any]]:
    """A collector as it is served."""
    data = folder / "data"
    created = subprocess.run(
        [*COLLECTOR, "init", "--data", str(data)], capture_output=True, text=True, check=True
    )
    secret = PrintedToken.parse(created.stdout).secret
    ports = ["--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*COLLECTOR, "serve", "--data", str(data), *ports, "--sql-seconds", "300"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while (line := process.stderr.readline()) and not line.startswith("ready: "):
                pass
            address = json.loads((data / "serving.json").read_text())["people_address"]
            client = flight.FlightClient(
                f"grpc+tls://{address}", tls_root_certs=(data / "ca.pem").read_bytes()
            )
            header = (b"authorization", f"Bearer {secret}".encode())
            yield client, flight.FlightCallOptions(headers=[header])
        finally:
            process.terminate()


@contextmanager
def arrows(folder: Path, query: str) -> Iterator[tuple[Any, Any]]:
    certificate, key = folder / "server.pem", folder / "server.key"
    write_certificate(certificate, key)
    with subprocess.Popen(
        [sys.executable, str(SERVER), query, str(certificate), str(key)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        port = int(process.stdout.readline())
        client = flight.FlightClient(f"grpc+tls://127.0.0.1:{port}", tls_root_certs=certificate.read_bytes())
        yield client, flight.FlightCallOptions()
        process.stdin.close()


def write_certificate(certificate: Path, key: Path) -> None:
    """Signed by itself, for this run."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=12))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def by_flight(client: Any, options: Any, query: str) -> Taken:
    """From the question to the last row."""
    packed = AnyMessage()
    packed.Pack(flight_sql_pb2.CommandStatementQuery(query=query))
    begin = time.perf_counter()
    info = client.get_flight_info(flight.FlightDescriptor.for_command(packed.SerializeToString()), options)
    return read(client.do_get(info.endpoints[0].ticket, options).to_reader(), begin)


def in_process(query: str) -> Taken:
    with duckdb.connect(config={"threads": 2}) as connection:
        begin = time.perf_counter()
        return read(connection.sql(query).to_arrow_reader(16_384), begin)


def read(batches: Any, begin: float) -> Taken:
    first, size = 0.0, 0
    for batch in batches:
        first = first or time.perf_counter() - begin
        size += batch.nbytes
    return Taken(first, time.perf_counter() - begin, size)


if __name__ == "__main__":
    sys.exit(main())
