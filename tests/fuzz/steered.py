"""Bytes that atheris steers by the lines of the ingest conversion they reach: `steered.py -runs=N CORPUS`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["llmenv_collector"]):
    from llmenv_collector.delivery import ingest

MACHINE = "019c6120-0000-7000-8000-0000000000aa"
# Fields 1 and 4 of a Record: without its id and its machine nothing else is looked at.
BEFORE = b"\x0a\x24019c6120-0000-7000-8000-00000000005c\x22\x24" + MACHINE.encode()


def one_input(content: bytes) -> None:
    arrival = ingest.Arrival(
        "019c6120-0000-7000-8000-0000000000bb", MACHINE, 1, 1, BEFORE + content, received_at=1
    )
    reading = ingest.read(arrival)
    if bool(reading.reason) != (reading.cause is not None):
        raise AssertionError(reading)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
