"""A thousand invented identities go through the whole path, and are nowhere but where they may be.

The hub runs on servers of its own. After traffic through everything a partner can reach, with
refusals, withdrawals, a held delivery, a dead letter, faults that speak and crashes, every place
where the hub leaves bytes is searched. What the recipient got is in its own store, which is not
ours and is left out; that the sender keeps a ledger of its own is its business too.
"""

import asyncio
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from connectors.fhir_r4.inbound.tables import elements
from connectors.sandbox import journal
from services.console.local import plan, processes
from services.console.local.place import Place
from services.console.local.postgres import Server
from services.console.local.world import ACTIVATES, PROPOSES, add_partner, make_world, partner_files
from services.kit import serving
from services.kit.settings import Settings
from tests.support import servers
from tests.support.canary import COUNT, Scanner
from tests.support.canary_clinic import CLINIC
from tests.support.canary_places import (
    scan_database,
    scan_files,
    scan_processes,
    scan_topics,
    scan_value,
)
from tests.support.canary_run import PEOPLE, REFERRALS, Run, drive, start_with_faults
from tests.support.canary_traffic import NAMES
from tests.support.hub import running_hub

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A run folder with nothing of other tests in it."""
    with servers.temporary_place() as made:
        yield made


@pytest.fixture(scope="module")
def postgres_server(place: Place) -> Iterator[Server]:
    with servers.running_postgres(place) as server:
        yield server


@pytest.fixture(scope="module")
def kafka_server(place: Place) -> Iterator[servers.Kafka]:
    with servers.running_kafka(place) as broker:
        yield broker


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    return Scanner(PEOPLE)


@pytest.fixture(scope="module")
def run(secrets: Place, settings: Settings, pg: servers.Databases) -> Iterator[Run]:
    with running_hub(secrets, settings, (plan.VAULT, plan.REFUGIO)) as hub:
        flag = secrets.root / "parked"
        start_with_faults(hub, str(flag))
        hub.wait_ready(plan.HUB)
        clients = make_world(secrets, settings)
        listener = serving.listen("127.0.0.1", 0)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        jwks = json.loads((secrets.root / "partners/refugio-sur/jwks.json").read_text())
        people = clients[PROPOSES.staff_id], clients[ACTIVATES.staff_id]
        toml = partner_files(settings)[plan.REFUGIO].replace("refugio-sur", "eco-sur")
        toml = toml.replace(f"http://127.0.0.1:{settings.refugio_port}", address)
        add_partner(*people, toml.replace("entidad-receptora-5", "entidad-receptora-6"), jwks)
        began = time.monotonic()
        done = asyncio.run(drive(hub, pg, flag, listener, clients))
        done.seconds = time.monotonic() - began
        yield done


def test_the_traffic_was_what_it_should_be(run: Run) -> None:
    assert [sent.answer for sent in run.accepted if sent.status != 200] == []
    statuses = {what: Counter(sent.status for sent in all_) for what, all_ in run.others.items()}
    print(f"traffic took {run.seconds:.0f} s", statuses)
    print("closed", Counter(sent.status for sent in run.closed.values()))
    assert {sent.status for sent in run.malformed} <= {400, 422}
    assert statuses["emergency"] == {200: 1}
    assert statuses["fault"][500] >= 2
    assert statuses["dead"][200] == 1
    assert statuses["withdraw"] == {200: 7}
    for what in ("patch", "put", "consent put"):
        assert statuses[what][200] > 0, what
        assert statuses[what].total() > statuses[what][200], what


def test_the_native_traffic_was_what_it_should_be(run: Run) -> None:
    statuses = {what: Counter(sent.status for sent in all_) for what, all_ in run.others.items()}
    assert statuses["native referral"] == {201: 7}
    assert statuses["data"] == {200: 8}
    assert statuses["case put right"] == {200: 1, 409: 1}
    assert statuses["search own"] == {200: 1}
    for what in ("subscription", "abort", "taken back"):
        assert statuses[what][201] > 0, what
    for what in ("command", "consent", "entry", "capacity", "proposal", "indicator",
                 "erasure", "validate", "hook good", "disclosures"):  # fmt: skip
        assert statuses[what][200] > 0, what
    refused = ("native field", "native raw", "native path", "hook", "subscription part", "case",
               "subscription query", "abort part", "search", "search query")  # fmt: skip
    for what in refused:
        assert statuses[what].total() > statuses[what][200], what
    assert not [(what, n) for what, found in statuses.items() for n in found if n in {429, 503}]


def test_all_identities_and_at_least_95_percent_of_the_referrals_got_in(run: Run) -> None:
    accepted = sum(sent.status == 200 for sent in run.accepted)
    assert accepted >= 0.95 * len(run.accepted)
    assert run.traffic.identities == set(range(COUNT))


def test_every_field_of_the_schemas_carried_one(run: Run) -> None:
    rows = {
        f"{owner}.{name}"
        for owner, found in elements().items()
        for name, row in found.items()
        if row.type == "string"
    }
    assert rows - run.traffic.rows == set()
    open_fields = set(run.traffic.planter.full().fields)
    assert {name for name in open_fields if run.traffic.fields[name] < REFERRALS} == set()
    print(f"{len(open_fields)} open fields, {len(run.closed)} closed ones")


def test_every_other_part_of_a_request_carried_one(run: Run) -> None:
    wanted = {*(f"header {name}" for name in NAMES), "header Idempotency-Key", "path", "query"}
    wanted |= {"method", "media type", "media type parameter", "assertion", "jti", "approver"}
    wanted |= {"Task answer", "Task PUT", "Consent PUT", "element name", "extension url"}
    assert wanted - set(run.traffic.carried) == set()


def clean(scanner: Scanner, *wanted: str) -> None:
    """Nobody was found, and each place was really looked at."""
    for prefix in wanted:
        size = sum(n for place, n in scanner.scanned.items() if place.startswith(prefix))
        print(f"{prefix}: {size:,} bytes")
        assert size > 0, f"{prefix}: nothing was scanned"
    found, scanner.hits = scanner.hits, []
    assert not found, "\n" + scanner.report(found)


def test_answers_echo_nothing(run: Run, scanner: Scanner) -> None:
    for sent in run.traffic.answers:
        place = f"answer to {sent.what or 'a read'}"
        scanner.scan_text(place, sent.answer.decode("utf-8", "replace"))
        scan_value(scanner, place, sent.headers)
    clean(scanner, "answer")


def test_topics_hold_nobody(run: Run, scanner: Scanner, kafka: servers.Kafka) -> None:
    counts = scan_topics(scanner, kafka)
    assert counts["cauce.case"] >= 3 * REFERRALS
    assert counts["cauce.dead"] > 0
    clean(scanner, "topic cauce.case", "topic cauce.dead", "topic cauce.directory")


def test_tables_of_both_databases_hold_nobody(
    run: Run, scanner: Scanner, pg: servers.Databases
) -> None:
    assert scan_database(scanner, "hub", pg.admin_dsn) > 1000
    assert scan_database(scanner, "vault", pg.vault_admin_dsn) > 100
    clean(scanner, "table hub.bus.event", "table hub.gateway.submission", "table hub.custody.leaf")
    clean(scanner, "table vault.vault.version", "table vault.keys.data_key")


def test_staff_are_shown_nobody_but_the_identity_that_was_opened(
    run: Run, scanner: Scanner
) -> None:
    scan_value(scanner, "staff", run.staff)
    clean(scanner, "staff")
    scan_value(scanner, "opened", run.opened)
    assert scanner.hits, "the opened identity is one of ours"
    scanner.hits = []


def test_metrics_and_processes_name_nobody(run: Run, scanner: Scanner) -> None:
    for name in (plan.HUB, plan.VAULT):
        host, port = plan.ready_address(run.hub.settings, name)
        with urllib.request.urlopen(f"http://{host}:{port}/metrics") as answer:
            scanner.scan_text(f"metrics of {name}", answer.read().decode())
    names = processes.names(run.hub.place)
    found = {name: processes.find(run.hub.place, name) for name in names}
    scan_processes(scanner, [process for process in found.values() if process is not None])
    for name in (plan.HUB, plan.VAULT):
        process = found[name]
        assert process is not None
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0), "a crash would write memory to disk"
    clean(scanner, "metrics of hub", "metrics of vault", "process arguments")


def test_addresses_and_keys_of_calls_to_partners_name_nobody(run: Run, scanner: Scanner) -> None:
    calls = [
        record
        for record in journal.read(run.hub.place.root / "partners/refugio-sur/data/refugio.jsonl")
        if record["kind"] == "call"
    ]
    scan_value(scanner, "calls to refugio-sur", calls)
    scan_value(scanner, "calls to eco-sur", run.heard)
    assert len(run.heard) >= 3
    clean(scanner, "calls to refugio-sur", "calls to eco-sur")


def test_webhooks_and_subscribers_are_told_nobody(run: Run, scanner: Scanner) -> None:
    for method, path, headers, raw in run.clinic.told:
        said = json.loads(raw) if "json" in headers["Content-Type"] else None
        scan_value(scanner, f"told {path}", [method, path, headers, raw, said])
    for org in (CLINIC, "ong-norte"):
        kinds = {body["type"] for body in run.clinic.bodies(f"/in/{org}")}
        assert "cauce.referral.status_changed" in kinds
        clean(scanner, f"told /in/{org}", f"told /told/{org}")
    kinds = {body["type"] for body in run.clinic.bodies(f"/in/{CLINIC}")}
    assert {
        "cauce.referral.sent", "cauce.referral.revoked", "cauce.referral.data_changed",
        "cauce.erasure.requested",
    } <= kinds  # fmt: skip


def test_what_the_clinic_reads_under_a_grant_does_hold_identities(
    run: Run, scanner: Scanner
) -> None:
    for sent in run.others["data"]:
        scanner.scan_text("data", sent.answer.decode())
    found, scanner.hits = scanner.hits, []
    assert len({hit.identity for hit in found}) > 10


def place_of(path: Path) -> str | None:
    """Where a file of the run folder belongs; the partners' own stores are not ours."""
    head = path.parts[0]
    if head == "partners" and path.suffix == ".jsonl":
        return None
    if head == "postgres":
        return "wal" if "pg_wal" in path.parts else "heap"
    if head == "logs":
        return f"log of {path.stem}"
    return {"kafka": "segments", "vault-keys": "keystore"}.get(head, "run folder")


def test_the_disk_holds_nobody(
    run: Run, scanner: Scanner, place: Place, postgres_server: Server, pg: servers.Databases
) -> None:
    asyncio.run(_checkpoint(pg.admin_dsn))
    scan_files(scanner, place.root, place_of)
    if not postgres_server.data.is_relative_to(place.root):
        scan_files(scanner, postgres_server.data, lambda path: place_of(Path("postgres") / path))
    clean(scanner, "wal", "heap", "segments", "keystore", "run folder")
    clean(scanner, "log of hub", "log of vault", "log of postgres", "log of kafka")


async def _checkpoint(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("checkpoint")
    await connection.close()


def test_the_faults_were_logged_without_their_text(run: Run) -> None:
    log = run.hub.log(plan.HUB)
    for said in ("unforeseen", "RuntimeError", "some.package", "start-failed", "CrashError"):
        assert said in log, said


def test_the_recipient_did_get_identities(run: Run, scanner: Scanner) -> None:
    """Otherwise nothing of the above would mean anything."""
    scan_files(scanner, run.hub.place.root / "partners" / "refugio-sur" / "data", lambda _: "store")
    found, scanner.hits = scanner.hits, []
    assert len({hit.identity for hit in found}) > 300
