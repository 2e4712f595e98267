"""A newer agent and an older collector, which is then upgraded: real processes, nothing lost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import result_pb2
from llmenv.ids import new_id

if TYPE_CHECKING:
    from .conftest import RunningCollector

# The collector of today under a contract of yesterday, which lacks one kind of record and one field.
OLDER = """
import sys
from google.protobuf import descriptor_pb2, descriptor_pool

LACKING = {
    "llmenv/fleet/v1/record.proto": ("Record", "check_started"),
    "llmenv/fleet/v1/result.proto": ("CheckError", "traceback"),
}
newest = descriptor_pool.Default()

class Older:
    def AddSerializedFile(self, content):
        file = descriptor_pb2.FileDescriptorProto.FromString(content)
        if file.name in LACKING:
            message, lacking = LACKING[file.name]
            (found,) = [each for each in file.message_type if each.name == message]
            kept = [each for each in found.field if each.name != lacking]
            del found.field[:]
            found.field.extend(kept)
        return newest.AddSerializedFile(file.SerializeToString())

descriptor_pool.Default = Older
from llmenv.fleet.v1 import record_pb2
descriptor_pool.Default = lambda: newest

from llmenv_collector.main import main
sys.exit(main())
"""
COUNTS = """
    SELECT (SELECT count(*) FROM store.record), (SELECT count(*) FROM store.record_raw),
           (SELECT count(*) FROM store.check_start), (SELECT count(*) FROM store.result),
           (SELECT sum(stored) FROM store.watermark), (SELECT count(*) FROM store.rejection)
"""


def test_what_an_older_collector_does_not_know_is_there_after_its_upgrade(
    own_collector: RunningCollector,
) -> None:
    """An unknown kind and an unknown field are acknowledged, kept raw, counted, and ingested later, once."""
    own_collector.stop()
    own_collector.start([sys.executable, "-c", OLDER])
    machine = own_collector.enrol()
    stream = machine.connect(new_id())
    result = result_pb2.Result(result_id=new_id(), status=result_pb2.STATUS_ERROR)
    result.error.traceback = "only a newer agent says this"
    finished = machine.record(check_finished={"run_id": new_id(), "result": result})
    stream.deliver([machine.check_started(), finished], first=1)
    assert stream.receive("acknowledged").watermark == 2
    stream.close()
    own_collector.stop()
    with own_collector.database() as database:
        assert database.sql(COUNTS).fetchall() == [(2, 2, 0, 1, 2, 0)]
        assert database.sql("SELECT kind FROM store.record ORDER BY sequence").fetchall() == [
            ("unknown",),
            ("check_finished",),
        ]

    own_collector.start()
    own_collector.stop()
    with own_collector.database() as database:
        assert database.sql(COUNTS).fetchall() == [(2, 0, 1, 1, 2, 0)]
        ((message,),) = database.sql("SELECT message FROM store.result").fetchall()
    assert result_pb2.Result.FromString(message).error.traceback == result.error.traceback
