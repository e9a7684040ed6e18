"""Every place where the hub leaves bytes: databases, topics, disk, processes, metrics.

Tables and records are read decoded, since compression on disk hides from a raw search what a
reader gets; the disk is read raw, since deleted rows and old log segments have no reader.
"""

import asyncio
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import asyncpg
import psutil
from kafka import KafkaConsumer, TopicPartition

from schemas.codec import DecodeError, decode
from tests.support.canary import Scanner
from tests.support.servers import Kafka

CHUNK: Final = 4 << 20
OVERLAP: Final = 256
EMPTY: Final = re.compile(rb"\0{512,}")
TABLES: Final = """
select quote_ident(n.nspname) || '.' || quote_ident(c.relname) from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'm', 'S') and n.nspname not in ('pg_catalog', 'information_schema')
 order by 1"""
CATALOGUES: Final = {
    "pg_stat_activity": "select * from pg_stat_activity",
    "pg_stats": "select most_common_vals::text, histogram_bounds::text from pg_stats",
    "pg_largeobject": "select * from pg_largeobject",
}


def texts(value: Any) -> Iterator[str | bytes]:
    """What a decoded value says, its keys too; bytes also unpacked where they are packed."""
    if isinstance(value, bytes):
        yield value
        with suppress(zlib.error):
            yield zlib.decompress(value, 47)
    elif isinstance(value, str):
        yield value
        if "%" in value:
            yield unquote(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
    elif value is not None:
        yield str(value)


def scan_value(scanner: Scanner, place: str, value: Any) -> None:
    """Search a decoded value."""
    said = list(texts(value))
    scanner.scan_text(place, "\n".join(s for s in said if isinstance(s, str)))
    scanner.scan(place, b"\n".join(s for s in said if isinstance(s, bytes)))


def scan_database(scanner: Scanner, name: str, dsn: str) -> int:
    """Every row of every table; the number of rows. Afterwards all of it is on disk."""
    return asyncio.run(_scan_database(scanner, name, dsn))


async def _scan_database(scanner: Scanner, name: str, dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    count = 0
    try:
        tables = [row[0] for row in await connection.fetch(TABLES)]
        queries = {table: f"select * from {table}" for table in tables} | CATALOGUES
        for table, query in queries.items():
            rows = await connection.fetch(query)
            count += len(rows)
            scan_value(scanner, f"table {name}.{table}", [dict(row) for row in rows])
        await connection.execute("checkpoint")
    finally:
        await connection.close()
    return count


def scan_topics(scanner: Scanner, kafka: Kafka) -> dict[str, int]:
    """Every record of every topic: key, headers, value raw and decoded; records by topic."""
    consumer = KafkaConsumer(**kafka.client(), auto_offset_reset="earliest", group_id=None)
    counts: dict[str, int] = {}
    try:
        parts = [
            TopicPartition(topic, number)
            for topic in sorted(consumer.topics())
            for number in consumer.partitions_for_topic(topic) or ()
        ]
        consumer.assign(parts)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(parts)
        counts = {part.topic: 0 for part in parts}
        while any(consumer.position(part) < ends[part] for part in parts):
            for part, records in consumer.poll(timeout_ms=500).items():
                counts[part.topic] += len(records)
                for record in records:
                    scan_value(scanner, f"topic {part.topic}", _decoded(record))
    finally:
        consumer.close()
    return counts


def _decoded(record: Any) -> list[Any]:
    found = [record.key, record.value, list(record.headers or ())]
    with suppress(DecodeError, TypeError):
        event: Any = decode(record.value)
        found.append({name: getattr(event, name) for name in event.__dataclass_fields__})
    with suppress(ValueError, TypeError):
        found.append(json.loads(record.value))
    return found


def scan_files(
    scanner: Scanner, root: Path, name_of: Callable[[Path], str | None]
) -> dict[str, int]:
    """Every file below a folder, name and content; `name_of` names its place (None: not ours)."""
    counts: dict[str, int] = {}
    for path in sorted(root.rglob("*")):
        place = name_of(path.relative_to(root))
        if place is None or path.is_symlink() or not path.is_file():
            continue
        counts[place] = counts.get(place, 0) + 1
        scanner.scan_text(f"{place} (names)", str(path.relative_to(root)))
        for block in _blocks(path):
            scanner.scan(place, block)
    return counts


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in overlapping blocks without its empty stretches."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        last = b""
        while chunk := file.read(CHUNK):
            block = EMPTY.sub(b"\0" * 8, last + chunk)
            last = chunk[-OVERLAP:]
            if block.strip(b"\0"):
                yield block
        file.seek(0)
        if file.read(2) == b"\x1f\x8b":
            file.seek(0)
            with suppress(zlib.error):
                yield zlib.decompress(file.read(), 47)


def scan_processes(scanner: Scanner, processes: Iterable[psutil.Process]) -> None:
    """What anybody on the machine may see of a process: its arguments, and its environment."""
    for process in processes:
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                scan_value(scanner, "process arguments", one.cmdline())
                scan_value(scanner, "process environment", one.environ())
