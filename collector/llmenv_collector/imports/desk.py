"""Takes in files of measurements made elsewhere: read, judged and stored in one transaction."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import re
from typing import TYPE_CHECKING, TypeVar

from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.ids import new_id

from llmenv_collector import clock
from llmenv_collector.errors import UsageError
from llmenv_collector.identity.identity_file import audit
from llmenv_collector.imports import store as import_store
from llmenv_collector.imports.measurement_file import MAX_BYTES, FileRows, read_file
from llmenv_collector.imports.store import ImportedFile, Standing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import duckdb

    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.tokens import Token
    from llmenv_collector.storage.store import Store

SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
LONGEST_NAME = 255
DEFAULT_LISTED, MAX_LISTED = 50, 1_000
T = TypeVar("T")


class ImportDesk:
    """Lives in the event loop; what takes time is done in threads."""

    def __init__(self, *, store: Store, identity: Identity) -> None:
        self._store = store
        self._identity = identity

    async def take_in(
        self, parts: AsyncIterator[fleet.ImportMeasurementsRequest], *, by: Token
    ) -> fleet.ImportMeasurementsResponse:
        """Raises UsageError for a file that is of no use as a whole."""
        asked, content = await collected(parts)
        now = clock.now()
        rows = await asyncio.to_thread(read_file, content, file_name=asked.file_name, now=now)
        answer = fleet.ImportMeasurementsResponse(
            good_rows=len(rows.good),
            refused_rows=rows.refused,
            refusals=[fleet.RefusedRow(line=one.line, reason=one.reason) for one in rows.refusals],
            machines=len({row.subject for row in rows.good}),
        )
        imported = ImportedFile(
            import_id=new_id(),
            source=asked.source,
            file_name=asked.file_name,
            content_hash=hashlib.sha256(content).hexdigest(),
            rows=rows.good,
            refused_rows=rows.refused,
            imported_at=now,
            imported_by=by.label or by.token_id,
            is_replacement=asked.is_replacement,
        )
        found = await self._standing(imported)
        require_new(imported, found)
        answer.is_known = found.is_known
        if is_wanted(asked, rows, found):
            answer.import_id = await self._add(imported, by=by)
        if not found.is_known and asked.is_replacement:
            answer.withdrawn_rows = found.of_this_name
        return answer

    async def newest(self, *, limit: int) -> fleet.ListImportsResponse:
        at_most = min(limit or DEFAULT_LISTED, MAX_LISTED)
        return await self._read(functools.partial(import_store.newest, limit=at_most))

    async def withdraw(self, identity: str, *, by: Token) -> fleet.ImportedFile:
        """What it brought counts no more from now on.  Raises NotFoundError or UsageError."""
        import_id = await self._read(functools.partial(import_store.find, identity=identity))
        await asyncio.to_thread(
            self._audit, import_id, f"by token {by.token_id}", action="measurements.withdraw"
        )
        act = functools.partial(
            import_store.withdraw, import_id=import_id, now=clock.now(), by=by.label or by.token_id
        )
        await asyncio.wrap_future(self._store.request(act))
        return await self._read(functools.partial(import_store.by_id, import_id=import_id))

    async def _add(self, imported: ImportedFile, *, by: Token) -> str:
        """Its id; empty where the same content came in meanwhile."""
        rows = f"{len(imported.rows)} rows of {imported.file_name} from {imported.source}"
        detail = f"{rows}, by token {by.token_id}"
        await asyncio.to_thread(self._audit, imported.import_id, detail)
        act = functools.partial(import_store.add, imported=imported)
        found = await asyncio.wrap_future(self._store.request(act))
        require_new(imported, found)
        return "" if found.is_known else imported.import_id

    async def _standing(self, imported: ImportedFile) -> Standing:
        return await self._read(
            functools.partial(
                import_store.standing,
                source=imported.source,
                file_name=imported.file_name,
                content_hash=imported.content_hash,
            )
        )

    async def _read(self, query: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        def read() -> T:
            with self._store.reader() as connection:
                return query(connection)

        return await asyncio.to_thread(read)

    def _audit(self, subject: str, detail: str, *, action: str = "measurements.import") -> None:
        with self._identity.changes() as connection:
            audit(connection, action, subject, detail)


async def collected(
    parts: AsyncIterator[fleet.ImportMeasurementsRequest],
) -> tuple[fleet.ImportMeasurementsRequest, bytes]:
    """What was said of the file, and the file.  Raises UsageError before it grows too large."""
    asked: fleet.ImportMeasurementsRequest | None = None
    content = bytearray()
    async for part in parts:
        if asked is None:
            asked = part
            require_named(asked)
        content += part.content
        if len(content) > MAX_BYTES:
            raise UsageError(f"A file has at most {MAX_BYTES >> 20} MiB: split it.")
    if asked is None:
        raise UsageError("No file came.")
    return asked, bytes(content)


def require_named(asked: fleet.ImportMeasurementsRequest) -> None:
    if not SOURCE.fullmatch(asked.source):
        raise UsageError(
            "A source is named by up to 64 letters, digits, -, _ and ., such as llama.cpp-4167,"
            f" not {asked.source[:LONGEST_NAME]!r}."
        )
    name = asked.file_name
    if not (0 < len(name) <= LONGEST_NAME and name.isprintable()) or "/" in name:
        raise UsageError("A file is named without its folder, by up to 255 characters that can be printed.")


def require_new(imported: ImportedFile, found: Standing) -> None:
    if found.has_this_name and not found.is_known and not imported.is_replacement:
        raise UsageError(
            f"A file {imported.file_name!r} was imported from {imported.source!r} before, with other content:"
            " replace it, or name this one otherwise."
        )


def is_wanted(asked: fleet.ImportMeasurementsRequest, rows: FileRows, found: Standing) -> bool:
    """Whether anything is to be stored."""
    is_whole = not rows.refused or asked.skips_bad_rows
    return bool(rows.good) and is_whole and not found.is_known and not asked.is_dry_run
