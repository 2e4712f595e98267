"""No record of the contract may find a collector without an answer."""

from __future__ import annotations

from llmenv.fleet.v1.record_pb2 import Record
from llmenv_collector.delivery import rows


def test_every_kind_of_record_has_its_rows() -> None:
    """One that had none stopped the collector, and stopped it again after each start."""
    kinds = {field.name for field in Record.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert kinds == set(rows.OF_KIND)
