"""What a collector can be told: flags, then LLMENV_* variables, then collector.toml, then the defaults.

A key that does not exist, or a value that cannot be one, refuses to start and
names the file and the line.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from llmenv import logs
from llmenv.named_file import refuse_pipes

from llmenv_collector.errors import UsageError
from llmenv_collector.toml_table import tables_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llmenv_collector.toml_table import Table

DURATION_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
# Of any number: 31 years in seconds, and a thousand times what a collector can have of anything else.
MOST = 1_000_000_000
KIND_WORDS = {int: "a whole number", float: "a number", str: "text"}
DEFAULT_PORTS = {"listen": 7443, "agents_listen": 7444}
OPTIONAL_PORTS = ("http_listen", "metrics_listen")
STORES = ("file", "ducklake")
RETENTIONS = ("keep_trials", "keep_logs", "keep_refused", "keep_notices")
FOREVER = "forever"
ARRAYS = ("webhook", "report")
"""Tables of collector.toml that are no settings; who serves reads them."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be set, with its default."""

    store: str = "file"
    """`file`, one DuckDB file in the data folder, or `ducklake`, which several collectors write to."""
    lake_catalog: str = dataclasses.field(default="", repr=False)
    """Connection string of the PostgreSQL database that is the catalog of `ducklake`; may hold a password."""
    lake_data: str = ""
    """Folder, or s3://bucket/prefix, for the Parquet files of `ducklake`."""
    listen: str = "127.0.0.1:7443"
    """host:port for people and enrolment; port 0 lets the system choose."""
    agents_listen: str = "127.0.0.1:7444"
    """host:port for agents."""
    advertise: str = ""
    """Hosts that machines and people reach this collector by, separated by commas, the preferred one first;
    empty for the host of `listen`."""
    heartbeat_seconds: float = 30.0
    """Interval of heartbeats on an agent's stream."""
    log_format: str = "text"
    """`text` or `json`, on stderr."""
    metrics_listen: str = ""
    """host:port on which Prometheus may ask, without TLS; empty for nowhere."""
    http_listen: str = ""
    """host:port of the pages for a browser, with TLS; empty for nowhere."""
    pages_certificate: str = ""
    """PEM file of a certificate that browsers trust, for the pages; empty for the collector's own."""
    pages_key: str = ""
    """PEM file of its key."""
    min_free_mb: int = 256
    """Deliveries are refused, and nothing else, when the disk has less left, 10^6 bytes."""
    keep_trials: str = "90d"
    """Raw trials of measurements are removed when they were received longer ago; `forever` for never."""
    keep_logs: str = "365d"
    """Log tails, likewise."""
    keep_refused: str = "365d"
    """The bytes of records that were refused for good, likewise."""
    keep_notices: str = "365d"
    """Notices and the changes behind them, likewise; the newest of each subject stays."""
    retention_seconds: float = 3_600.0
    """Between rounds that remove what is older."""
    compact_percent: int = 30
    """The file of the database is written anew when so much of it is free room; 100 for never."""
    changes_seconds: float = 60.0
    """Between rounds that keep the changes of measurements up to date."""
    sql_seconds: int = 30
    """An analyst's statement is ended after this time."""
    sql_memory_mb: int = 1_024
    """An analyst's statement is ended when its process needs more, 10^6 bytes."""
    sql_rows: int = 1_000_000
    """Rows that one statement may return at most."""
    certificate_seconds: int = 30 * 86_400
    """A machine's certificate is good for this long."""
    server_certificate_seconds: int = 397 * 86_400
    """The collector's own certificate is good for this long."""
    late_renewal_seconds: int = 180 * 86_400
    """A machine's certificate can be renewed for this long after its end."""
    notices_seconds: float = 30.0
    """Between looks for changes of state that notices tell of."""
    notices_gather_seconds: float = 60.0
    """The first change of a cause waits so long for others that are told with it."""


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def load(
    file: Path, *, flags: Mapping[str, str | None], environment: Mapping[str, str] = os.environ
) -> Settings:
    """Raises UsageError for anything that is not a setting."""
    values: dict[str, Any] = read_file(file)
    for field in fields(Settings):
        variable = f"LLMENV_{field.name.upper()}"
        if variable in environment:
            values[field.name] = convert(field.name, environment[variable], where=f"variable {variable}")
        flag = flags.get(field.name)
        if flag is not None:
            values[field.name] = convert(field.name, flag, where=f"--{field.name.replace('_', '-')}")
    return Settings(**values)


def write_serving_others(file: Path, *, host: str) -> None:
    """Settings of a collector that other machines reach as `host`; an existing file stays as it is."""
    if file.exists():
        return
    ports = DEFAULT_PORTS
    file.write_text(
        f'listen = "0.0.0.0:{ports["listen"]}"\n'
        f'agents_listen = "0.0.0.0:{ports["agents_listen"]}"\n'
        f"advertise = {json.dumps(host)}\n",
        encoding="utf-8",
    )


def people_address(settings: Settings) -> str:
    """host:port that people are told; the one a token carries before anything serves."""
    listen = parse_address(settings.listen, where="listen")
    return str(Address(advertised(settings, listen.host)[0], listen.port))


def advertised(settings: Settings, host: str) -> tuple[str, ...]:
    """Hosts that others reach this collector by, never none; `host` where nothing is set."""
    return tuple(one.strip() for one in settings.advertise.split(",") if one.strip()) or (host,)


def read_file(file: Path) -> dict[str, Any]:
    content, text = read_toml(file)
    return {
        key: convert(key, value, where=f"{file}, line {line_of(key, text)}")
        for key, value in content.items()
        if key not in ARRAYS
    }


def read_tables(file: Path, kind: str) -> list[Table]:
    """Those of one of ARRAYS, in their order."""
    content, text = read_toml(file)
    return tables_of(file, kind, content.get(kind, []), text)


def read_toml(file: Path) -> tuple[dict[str, Any], str]:
    """What it says, and the text; nothing where there is no file."""
    try:
        refuse_pipes(file)
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}, ""
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{file} cannot be read: {why}.") from error
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: {error}.") from error


def line_of(key: str, text: str) -> int:
    """The first line with the key or a table of its name; 1 when it is written otherwise."""
    pattern = re.compile(rf"""^\s*\[*\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def convert(name: str, value: object, *, where: str) -> Any:
    """The value in the type of the setting's default."""
    types: dict[str, type] = {field.name: type(getattr(Settings, field.name)) for field in fields(Settings)}
    if name not in types:
        raise UsageError(f"{where}: there is no setting {name!r}; there are {', '.join(sorted(types))}.")
    wanted = types[name]
    if name in DEFAULT_PORTS or (name in OPTIONAL_PORTS and value):
        parse_address(str(value), where=where)
    if name == "store" and value not in STORES:
        raise UsageError(f"{where}: store must be {' or '.join(STORES)}, not {value!r}.")
    if name == "log_format" and value not in logs.FORMATS:
        raise UsageError(f"{where}: log_format must be {' or '.join(logs.FORMATS)}, not {value!r}.")
    if name in RETENTIONS:
        parse_days(str(value), where=f"{where}: {name}")
    try:
        converted = wanted(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {name} must be {KIND_WORDS[wanted]}, not {value!r}.") from error
    most = 100 if name.endswith("_percent") else MOST
    if isinstance(converted, (int, float)) and not 0 < converted <= most:
        raise UsageError(f"{where}: {name} must be above 0 and at most {most:,}, not {value!r}.")
    return converted


def parse_address(text: str, *, where: str) -> Address:
    """host:port, with [::1]:7443 for IPv6."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):(\d{1,5})", text)
    if match is None or int(match[3]) > 65_535:
        raise UsageError(f"{where}: {text!r} is not host:port, such as 127.0.0.1:7443.")
    return Address(host=match[1] or match[2], port=int(match[3]))


def parse_duration(text: str, *, where: str) -> int:
    """Seconds in "90s", "15m", "8h" or "30d"."""
    match = re.fullmatch(r"([1-9]\d{0,6})([smhd])", text)
    if match is None:
        raise UsageError(f"{where}: {text!r} is not a time such as 90s, 15m, 8h or 30d.")
    return int(match[1]) * DURATION_SECONDS[match[2]]


def parse_days(text: str, *, where: str) -> int | None:
    """Seconds in "90d"; None for "forever"."""
    if text == FOREVER:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})d", text)
    if match is None:
        raise UsageError(f"{where} must be a number of days such as 90d, or {FOREVER}, not {text!r}.")
    return int(match[1]) * DURATION_SECONDS["d"]
