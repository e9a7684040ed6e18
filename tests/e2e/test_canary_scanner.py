"""The canary scanner finds what is planted: in every encoding, and in every kind of place."""

import gzip
from pathlib import Path
from random import Random

import asyncpg
import pytest
from kafka import KafkaProducer

from services.console.local.place import Place
from tests.support.canary import ENCODINGS, KINDS, Scanner, encoded, identities
from tests.support.canary_places import (
    scan_database,
    scan_files,
    scan_processes,
    scan_topics,
    scan_value,
)
from tests.support.servers import Databases, Kafka

PEOPLE = identities()
WHO = PEOPLE[421]


@pytest.fixture(scope="module")
def automaton() -> Scanner:
    return Scanner(PEOPLE)


@pytest.fixture
def scanner(automaton: Scanner) -> Scanner:
    automaton.hits.clear()
    automaton.scanned.clear()
    return automaton


def test_a_thousand_identities_share_no_value() -> None:
    values = [person.value(kind) for person in PEOPLE for kind in KINDS]
    assert len(PEOPLE) == 1000
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_form_of_an_encoding_is_found_amid_other_bytes(
    scanner: Scanner, encoding: str
) -> None:
    random = Random(encoding)
    for kind in KINDS:
        for form in encoded(WHO.value(kind))[encoding]:
            scanner.hits.clear()
            scanner.scan("planted", random.randbytes(301) + form + random.randbytes(77))
            assert {hit.identity for hit in scanner.hits} == {421}, (kind, form)


def test_base64_is_found_at_every_offset(scanner: Scanner) -> None:
    import base64

    for before in range(7):
        scanner.hits.clear()
        text = base64.b64encode(b"." * before + WHO.name.encode() + b" came alone")
        assert scanner.scan("planted", text), before


def test_mixed_case_and_accents_are_found_in_decoded_text(scanner: Scanner) -> None:
    import unicodedata

    mixed = "".join(c.upper() if n % 2 else c for n, c in enumerate(WHO.name))
    assert scanner.scan_text("planted", f"… {unicodedata.normalize('NFD', mixed)} …")


def test_random_bytes_hold_nobody(scanner: Scanner) -> None:
    scanner.scan("noise", Random(1).randbytes(4 << 20))
    assert scanner.hits == []


def test_bytes_unpacked_and_text_unquoted_are_searched(scanner: Scanner) -> None:
    scan_value(scanner, "packed", {"a": [gzip.compress(WHO.name.encode())]})
    assert scanner.hits
    scanner.hits.clear()
    scan_value(scanner, "key", {WHO.token: 1})
    assert scanner.hits


def test_a_value_across_two_blocks_of_a_file_is_found(scanner: Scanner, tmp_path: Path) -> None:
    from tests.support.canary_places import CHUNK

    raw = WHO.name.encode()
    (tmp_path / "heap").write_bytes(b"x" * (CHUNK - 4) + raw + b"\0" * 9000)
    (tmp_path / f"{WHO.token}.json").write_bytes(b"{}")
    scan_files(scanner, tmp_path, lambda _: "files")
    assert {hit.place for hit in scanner.hits} == {"files", "files (names)"}


def test_a_value_in_a_process_is_found(scanner: Scanner) -> None:
    import subprocess
    import sys

    import psutil

    with subprocess.Popen(
        [sys.executable, "-c", "input()", WHO.name], stdin=subprocess.PIPE
    ) as child:
        scan_processes(scanner, [psutil.Process(child.pid)])
        child.communicate(b"\n")
    assert "process arguments" in {hit.place for hit in scanner.hits}


async def _plant(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table planted (a text, b bytea, c jsonb)")
    await connection.execute("insert into planted values ($1, null, null)", WHO.name)
    await connection.execute("delete from planted")
    await connection.execute("insert into planted values (null, $1, null)", WHO.number.encode())
    await connection.close()


async def _drop(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("drop table planted")
    await connection.close()


def test_values_in_tables_deleted_rows_and_the_log_of_postgresql_are_found(
    scanner: Scanner, pg: Databases, postgres_server: object
) -> None:
    import asyncio

    asyncio.run(_plant(pg.admin_dsn))
    try:
        assert scan_database(scanner, "hub", pg.admin_dsn) > 0
        assert {hit.place for hit in scanner.hits} == {"table hub.public.planted"}
        scanner.hits.clear()
        data: Path = postgres_server.data  # type: ignore[attr-defined]
        scan_files(scanner, data, lambda path: "wal" if "pg_wal" in path.parts else "heap")
        found = {(hit.place, hit.kind) for hit in scanner.hits}
        assert {("wal", "name"), ("wal", "number"), ("heap", "number")} <= found
        assert ("heap", "name") in found, "a deleted row"
    finally:
        asyncio.run(_drop(pg.admin_dsn))


def test_values_in_keys_headers_and_values_of_records_are_found(
    scanner: Scanner, kafka: Kafka, place: Place
) -> None:
    producer = KafkaProducer(**kafka.client(), compression_type="gzip")
    name, token, number = WHO.name.encode(), WHO.token.encode(), WHO.number.encode()
    for key, value, header in ((name, b"v", b"h"), (b"k", token, b"h"), (b"k", b"v", number)):
        producer.send("cauce.case", key=key, value=value, headers=[("a", header)])
    producer.close()
    assert scan_topics(scanner, kafka)["cauce.case"] == 3
    assert {hit.kind for hit in scanner.hits} == {"name", "token", "number"}
    scanner.hits.clear()
    plain = KafkaProducer(**kafka.client())
    plain.send("cauce.dead", key=b"k", value=WHO.birth.encode())
    plain.close()
    scan_files(scanner, place.kafka, lambda _: "segments")
    assert ("segments", "birth") in {(hit.place, hit.kind) for hit in scanner.hits}
