"""A lake whose files are in a bucket, as moto serves one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from tests.lake.conftest import needs_lake
from tests.lake.records import Spool, ledger
from tests.lake.test_exactly_once import PATIENCE, collectors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_collector.lake.place import Place

    from tests.lake.cluster import Cluster

pytestmark = needs_lake
SECRET = "a quote ' and more"


@pytest.fixture
def bucket(cluster: Cluster) -> Iterator[Place]:
    """A lake of its own in it, not created yet."""
    boto3 = pytest.importorskip("boto3")
    server_of = pytest.importorskip("moto.server")
    from llmenv_collector.lake.place import Place

    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
    }
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id="key",
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="lab")
    yield Place(cluster.database(), "s3://lab/llmenv", environment)
    server.stop()


def test_collectors_share_a_bucket(bucket: Place, tmp_path: Path) -> None:
    """Deliveries, compaction and statements; and a statement's process opens nothing else."""
    from llmenv_collector.lake.housekeeping import keep_house
    from llmenv_collector.sql.people_duckdb import connect

    spool = Spool()
    with collectors(bucket, tmp_path, 2) as (one, other):
        one.deliver(spool.records(range(1, 5))).result(PATIENCE)
        assert other.deliver(spool.records(range(3, 9))).result(PATIENCE).watermark == 8
        assert keep_house(bucket) == []
        assert ledger(one) == (8, 8, 8)
        assert one.lake is not None
        views = tmp_path / "views" / "llmenv.duckdb"
        views.parent.mkdir()
        one.lake.write_views(views)
        shown = bucket.shown(one.lake.last_commit())
        with connect(str(views), memory_bytes=1_000_000_000, lake=shown) as people:
            assert people.execute("SELECT count(*) FROM records").fetchall() == [(8,)]
            for place in ("s3://lab/other.parquet", "/etc/passwd", "http://127.0.0.1:1/"):
                with pytest.raises(duckdb.PermissionException):
                    people.execute("SELECT * FROM read_text(?)", [place]).fetchall()


def test_neither_password_nor_key_is_shown(bucket: Place) -> None:
    assert SECRET not in repr(bucket)
    assert bucket.catalog not in repr(bucket)
