"""Arrow's own Flight server, which answers one query from a DuckDB in its process.

`arrow_flight_server.py QUERY CERTIFICATE KEY` serves on a port of loopback that the system chooses, prints
it, and ends when stdin does.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyarrow import flight

BATCH_ROWS = 16_384


class Server(flight.FlightServerBase):
    def __init__(self, query: str, certificate: str, key: str) -> None:
        super().__init__("grpc+tls://127.0.0.1:0", tls_certificates=[(certificate, key)])
        self._query = query
        self._connection = duckdb.connect(config={"threads": 2})
        self._connection.execute("SET TimeZone = 'UTC'")

    def get_flight_info(self, _context: Any, descriptor: Any) -> Any:
        endpoint = flight.FlightEndpoint(b"query", [])
        return flight.FlightInfo(pa.schema([]), descriptor, [endpoint], -1, -1)

    def do_get(self, _context: Any, _ticket: Any) -> Any:
        reader = self._connection.cursor().sql(self._query).to_arrow_reader(BATCH_ROWS)
        return flight.RecordBatchStream(reader)


def main() -> None:
    query, certificate, key = sys.argv[1:]
    server = Server(query, Path(certificate).read_text(), Path(key).read_text())
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
