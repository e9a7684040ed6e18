"""The command line against a running hub: people, partners, one referral's timeline."""

import asyncio
import json
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import asyncpg
import pytest

from connectors.sandbox.samples import bundle
from services.console.client import CallError, Client
from services.console.local import plan
from services.console.local.world import ACTIVATES, PEOPLE, PROPOSES, make_world
from services.console.main import main
from tests.support.hub import Hub
from tests.support.servers import Databases

Cauce = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def people(hub: Hub) -> dict[str, Client]:
    return make_world(hub.place, hub.settings)


@pytest.fixture
def cauce(
    hub: Hub,
    people: dict[str, Client],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cauce:
    """Run a command as a demo person; status, what it printed, what it complained of."""
    monkeypatch.setenv("CAUCE_RUN", str(hub.place.root))

    def run(*words: str, who: str = PROPOSES.staff_id) -> tuple[int, str, str]:
        monkeypatch.setenv("CAUCE_STAFF_ID", who)
        status = main(words)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def answer_of(done: tuple[int, str, str]) -> Any:
    assert done[0] == 0, done[2]
    return json.loads(done[1])


def test_the_demo_people_are_registered_once(hub: Hub, people: dict[str, Client]) -> None:
    again = make_world(hub.place, hub.settings)
    listed = again[PROPOSES.staff_id].get("/admin/staff")["staff"]
    assert {one["staff_id"] for one in listed} == {person.staff_id for person in PEOPLE}
    assert {one["status"] for one in listed} == {"active"}


def test_the_directory_is_listed_shown_and_asked_for_proposals(cauce: Cauce) -> None:
    listed = answer_of(cauce("directory", "list", "--service-type", "food", "--json"))["services"]
    assert "refugio-sur-casa" in [one["id"] for one in listed]
    shown = answer_of(cauce("directory", "show", "refugio-sur-casa", "--json"))
    assert (shown["stale"], shown["open_now"], shown["capacity_free"]) == (False, True, 12)
    assert shown["address"] is None
    asked = ("directory", "propose", "--from", "ong-norte", "--service-type", "food")
    more = ("--language", "es", "--special-requirement", "with_children", "--age", "30")
    first = answer_of(cauce(*asked, *more, "--json"))["proposals"][0]
    assert first["service"]["id"] == "refugio-sur-casa"
    status, printed, _ = cauce(*asked, *more)
    assert (status, "Casa de acogida" in printed) == (0, True)
    assert answer_of(cauce("directory", "stale", "--json"))["services"] == []


def test_the_directory_says_what_it_does_not_know(cauce: Cauce) -> None:
    status, _, complaint = cauce("directory", "show", "nadie")
    assert (status, "cauce directory list" in complaint) == (1, True)
    asked = ("directory", "propose", "--from", "ong-norte", "--service-type")
    status, _, complaint = cauce(*asked, "magic")
    assert (status, "service_type: not-in-list" in complaint) == (1, True)
    status, _, complaint = cauce(*asked, "education")
    assert (status, "source-service-type" in complaint) == (1, True)
    assert cauce("directory", "list", "--age", "old")[0] == 1


def test_the_interfaces_are_printed_or_written(cauce: Cauce, tmp_path: Path) -> None:
    document = answer_of(cauce("schema", "openapi"))
    assert document["openapi"] == "3.1.0"
    assert "/docs/openapi.json" in document["paths"]
    file = tmp_path / "asyncapi.json"
    assert cauce("schema", "asyncapi", "--out", str(file))[0] == 0
    assert json.loads(file.read_text(encoding="utf-8"))["asyncapi"] == "3.0.0"
    told = answer_of(cauce("schema", "openapi", "--out", str(file), "--json"))
    assert told == {"file": str(file), "bytes": file.stat().st_size}
    status, _, complaint = cauce("schema", "openapi", "--out", str(tmp_path / "none" / "x.json"))
    assert (status, complaint.count("\n")) == (1, 1)


def test_the_partners_are_in_force_by_two_people(cauce: Cauce) -> None:
    partners = answer_of(cauce("partner", "list", "--json"))["partners"]
    assert {p["org"]: p["status"] for p in partners} == dict.fromkeys(
        ("clinica-demo", "ong-norte", "refugio-sur"), "active"
    )
    assert {(p["proposed_by"], p["activated_by"]) for p in partners} == {
        (PROPOSES.staff_id, ACTIVATES.staff_id)
    }


def test_a_change_of_a_partner_needs_another_person(cauce: Cauce, hub: Hub) -> None:
    home = plan.partner_home(hub.place, "ong-norte")
    words = ("partner", "add", str(home / "partner.toml"), "--jwks", str(home / "jwks.json"))
    assert cauce(*words)[0] == 0
    status, _, complaint = cauce("partner", "activate", "ong-norte")
    assert status == 1
    assert complaint == "cauce: another person must do this: you did the step before\n"
    done = answer_of(cauce("partner", "activate", "ong-norte", "--json", who=ACTIVATES.staff_id))
    assert (done["status"], done["version"]) == ("active", 2)


def test_a_dry_run_names_each_fault_and_stores_nothing(cauce: Cauce, tmp_path: Path) -> None:
    file = tmp_path / "partner.toml"
    file.write_text(
        """
org = "clinica-nueva"
name = "Clínica"
alias = "entidad-9"
org_type = "spaceship"
country = "COL"
roles = ["recipient"]
transport = "push"
[agreement]
ref = "X-1"
from = 2026-01-01
to = 2025-01-01
purposes = ["mining"]
[connector]
name = "fhir_r4"
base_url = "ftp://clinica.example/fhir"
token_url = "https://clinica.example/token"
""",
        encoding="utf-8",
    )
    status, printed, complaint = cauce("partner", "add", str(file), "--dry-run")
    assert status == 1
    assert set(printed.splitlines()) == {
        "org_type: code",
        "agreement.purposes.0: code",
        "agreement.to: before-from",
        "jwks.keys: required",
        "connector.base_url: address-not-allowed",
    }
    assert len(complaint.splitlines()) == 1
    assert "spaceship" not in printed + complaint
    assert cauce("partner", "show", "clinica-nueva")[0] == 1


def test_who_may_not_is_told_so_in_one_line(cauce: Cauce) -> None:
    status, _, complaint = cauce("staff", "disable", "operator-norte", who="officer-norte")
    assert status == 1
    assert complaint == "cauce: your roles do not allow this: see `cauce staff list`\n"


def test_a_stranger_gets_no_session(cauce: Cauce, hub: Hub, tmp_path: Path) -> None:
    assert cauce("staff", "key", str(tmp_path / "mine.pem"))[0] == 0
    from services.console.client import Who
    from services.console.local.world import admin_url

    stranger = Client(
        Who(
            staff_id=PROPOSES.staff_id,
            key=tmp_path / "mine.pem",
            admin_url=admin_url(hub.settings),
            cell=hub.settings.cell,
        )
    )
    with pytest.raises(CallError) as refused:
        stranger.get("/admin/staff")
    assert refused.value.code == "assertion-refused"


def refer(hub: Hub, **changes: Any) -> None:
    body = json.dumps({"bundle": bundle(**changes)}).encode()
    url = f"http://127.0.0.1:{hub.settings.ong_port}/_control/refer"
    request = urllib.request.Request(
        url, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        sent = json.loads(answer.read())
    assert sent["status"] == 200, sent


def until(look: Callable[[], Any], seconds: float = 20) -> Any:
    ends = monotonic() + seconds
    while not (found := look()) and monotonic() < ends:
        sleep(0.1)
    return found


def test_a_referral_has_a_timeline_with_its_events_and_leaves(cauce: Cauce, hub: Hub) -> None:
    refer(hub)

    def delivered() -> Any:
        listed = answer_of(cauce("referral", "list", "--json"))["referrals"]
        ended = ("delivered", "under_review", "accepted", "in_service", "completed")
        return [one for one in listed if one["status"] in ended]

    (one, *_) = until(delivered)
    assert cauce("custody", "checkpoint", "--sign")[0] == 0
    shown = answer_of(cauce("referral", "show", one["referral_ref"], "--json"))
    steps = shown["timeline"]
    events = [step["event"] for step in steps if "event" in step]
    assert events[:4] == ["consent.given", "case.opened", "referral.requested", "referral.sent"]
    assert {"disclosure.made", "referral.delivered"} <= set(events)
    leaves = {step["leaf"]["kind"] for step in steps if "leaf" in step}
    assert {"accepted", "disclosure_intent", "disclosed"} <= leaves
    assert all(step["leaf"]["signed"] for step in steps if "leaf" in step)
    status, printed, _ = cauce("referral", "show", one["referral_ref"])
    assert status == 0
    assert "disclosure.made" in printed
    consent = answer_of(cauce("consent", "show", one["referral_ref"], "--json"))
    assert consent["source_org"] == "ong-norte"


AGED = """
update referral.referral set created_at = created_at - interval '900 days', next_at = now(),
    updated_at = updated_at - interval '900 days', response_due = now() - interval '1 minute'
 where status not in ('completed', 'rejected')"""


def test_a_referral_past_its_time_stands_in_the_coordinators_list(
    cauce: Cauce, pg: Databases
) -> None:
    assert answer_of(cauce("referral", "overdue", "--json")) == {"referrals": []}

    async def age() -> None:
        conn = await asyncpg.connect(pg.admin_dsn)
        await conn.execute(AGED)
        await conn.close()

    asyncio.run(age())
    words = ("referral", "overdue", "--from", "ong-norte")
    (one, *_) = until(lambda: answer_of(cauce(*words, "--json"))["referrals"])
    assert (one["to_org"], one["owed_by"]) == ("refugio-sur", "refugio-sur")
    assert answer_of(cauce("referral", "overdue", "--from", "refugio-sur", "--json")) == {
        "referrals": []
    }
    status, printed, _ = cauce(*words)
    assert status == 0
    assert one["referral_ref"] in printed
    shown = answer_of(cauce("referral", "show", one["referral_ref"], "--json"))
    stages = {step.get("about", {}).get("answer_stage") for step in shown["timeline"]}
    assert stages & {"overdue", "escalated"}


def test_topics_show_what_was_put_and_where_consumers_are(cauce: Cauce) -> None:
    topics = {t["topic"]: t for t in answer_of(cauce("topic", "list", "--json"))["topics"]}
    assert topics["cauce.case"]["put"] > 0
    assert sum(topics["cauce.case"]["ends"]) > 0
    assert "referral" in topics["cauce.case"]["lag"]
    shown = answer_of(cauce("topic", "show", "cauce.case", "--json"))
    assert "referral.requested" in shown["events"]


def test_nothing_is_dead_and_nothing_waits_to_be_erased(cauce: Cauce) -> None:
    assert answer_of(cauce("dead", "list", "--json")) == {"parked": [], "held": []}
    assert answer_of(cauce("consent", "erasures", "--json")) == {"erasures": []}
    assert cauce("dead", "show", "no-uuid")[0] == 1


def test_an_identity_is_opened_by_two_organisations_and_read_once_by_who_asked(
    cauce: Cauce, hub: Hub
) -> None:
    (one, *_) = answer_of(cauce("referral", "list", "--json"))["referrals"]
    words = ("identity", "request", one["case_ref"], "--reason", "court_order", "--json")
    ref = answer_of(cauce(*words, who="officer-norte"))["opening_ref"]
    assert cauce("identity", "read", ref, who="officer-norte")[0] == 1
    status, _, complaint = cauce("identity", "approve", ref, who="operator-norte")
    assert (status, complaint) == (1, "cauce: a person of another organisation must approve\n")
    assert cauce("identity", "approve", ref, who="officer-sur")[0] == 0
    assert cauce("identity", "read", ref, who="officer-sur")[0] == 1
    opened = answer_of(cauce("identity", "read", ref, "--json", who="officer-norte"))
    assert opened["identity"]
    assert cauce("identity", "read", ref, who="officer-norte")[0] == 1
    shown = answer_of(cauce("referral", "show", one["referral_ref"], "--json"))
    kinds = [step["leaf"]["kind"] for step in shown["timeline"] if "leaf" in step]
    assert kinds.count("identity_opened") == 1


def test_a_person_gets_a_signed_report_of_what_is_held_and_who_received_it(
    cauce: Cauce, tmp_path: Path
) -> None:
    (one, *_) = answer_of(cauce("referral", "list", "--json"))["referrals"]
    out, case = tmp_path / "informe", one["case_ref"]
    words = ("identity", "access-report", "--case", case, "--lang", "es", "--out", str(out))
    status, _, complaint = cauce(*words, who="officer-norte")
    assert (status, "identity request CASE --reason subject_access" in complaint) == (1, True)
    assert not out.exists()
    asked = ("identity", "request", case, "--reason", "subject_access", "--json")
    ref = answer_of(cauce(*asked, who="officer-norte"))["opening_ref"]
    assert cauce(*words, who="officer-norte")[2].startswith("cauce: a person of another org")
    assert cauce("identity", "approve", ref, who="officer-sur")[0] == 0
    out.mkdir()
    assert cauce(*words, who="officer-norte")[2].endswith("name a folder that is not\n")
    out.rmdir()
    status, printed, complaint = cauce(*words, "--json", who="officer-norte")
    told, made = json.loads((out / "report.json").read_text("utf-8")), json.loads(printed)
    assert (status, complaint, made["folder"]) == (0, "", str(out))
    assert {path.name for path in out.iterdir()} == set(made["files"])
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}
    assert out.stat().st_mode & 0o777 == 0o700
    (held,) = told["record"]
    (who,) = [group for group in held["data"] if group["category"] == "identity"]
    assert not any(text in printed for field in who["fields"] for text in field["text"])
    (recipient,) = told["recipients"]
    assert (recipient["org"], recipient["standing"]["code"]) == ("refugio-sur", "holds")
    assert "disclosed" in [row["outcome"] for row in recipient["disclosures"]]
    assert len(told["openings"]) == 2  # one more was read above
    command = f"openssl pkeyutl -verify -rawin -pubin -inkey {out}/report-key.pem"
    for name in ("report.html", "report.json"):
        files = ["-in", str(out / name), "-sigfile", str(out / f"{name}.sig")]
        done = subprocess.run([*command.split(), *files], capture_output=True, check=True)
        assert b"Verified Successfully" in done.stdout


def test_a_suspended_partner_is_suspended_at_once(cauce: Cauce) -> None:
    assert answer_of(cauce("partner", "suspend", "refugio-sur", "--json"))["status"] == "suspended"
    shown = answer_of(cauce("partner", "show", "refugio-sur", "--json"))
    assert shown["record"]["status"] == "suspended"
