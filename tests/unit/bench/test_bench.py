"""What the measurement makes of its observations; the loads themselves are run by `make bench`."""

from datetime import UTC, datetime
from typing import Any

import orjson

from bench import report, rules
from bench.cpu import Moment
from bench.load import TASK, _quantiles, _times
from bench.path import _shares
from bench.paths import FHIR, WEBHOOK, Seen, made, of_clinic, of_shelter
from connectors.fhir_r4 import mapping as fhir_r4
from connectors.native import mapping as native
from connectors.sdk.inbound import Context
from connectors.sdk.strict import parse_strict

AT = "2026-03-01T12:00:00+00:00"
NOW = datetime.now(UTC)


def line(kind: str, version: str) -> bytes:
    task = {
        "resourceType": "Task",
        "meta": {"versionId": version},
        "identifier": [{"system": "https://cauce.example/fhir/NamingSystem/task", "value": "a"}],
    }
    return orjson.dumps({"kind": kind, "at": AT, "resources": [{"resourceType": "x"}, task]})


def test_a_stored_referral_and_its_answer_are_known_by_the_recipients_id() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
    assert of_shelter(line("effect", "1")) == Seen("stored", "a", at)
    assert of_shelter(line("answer", "2")) == Seen("answered", "a", at)


def test_later_content_calls_and_erasures_are_not_counted() -> None:
    assert of_shelter(line("effect", "2")) is None
    assert of_shelter(b'{"kind":"call","at":"x"}') is None
    assert of_shelter(line("erasure", "1")) is None


def test_times_join_the_senders_and_the_recipients_names_and_leave_out_what_never_came() -> None:
    start, end = {"s1": 1.0, "s2": 1.0, "s3": 2.0}, {"r1": 1.5, "r3": 2.1}
    times = _times(start, end, ["s1", "s2", "s3"], {"s1": "r1", "s2": "r2", "s3": "r3"})
    assert [round(t) for t in times] == [100, 500]
    assert _quantiles(times) == {"p50": times[1], "p99": times[1], "max": times[1]}
    assert _quantiles([]) is None


def test_what_the_clinic_notes_is_known_by_its_own_id() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()

    def seen(**record: Any) -> Seen | None:
        return of_clinic(orjson.dumps({"at": AT, **record}))

    assert seen(kind="hook", type="cauce.referral.sent", data={"id": "a"}) == Seen("told", "a", at)
    assert seen(kind="data", referral="a", document={}) == Seen("stored", "a", at)
    accepted = {"kind": "sent", "referral": "a", "what": "accept"}
    assert seen(**accepted, status=200) == Seen("answered", "a", at)
    assert seen(**accepted, status=409) is None
    assert seen(kind="hook", type="cauce.referral.revoked", data={"id": "a"}) is None
    assert seen(kind="done", id="x") is None


def test_every_referral_is_accepted_and_another_persons() -> None:
    seen: set[Any] = set()
    context = Context(
        "ong-norte", datetime.now(UTC), "America/Bogota", "https://cauce.example/fhir"
    )
    for way, read in ((FHIR, fhir_r4.to_submission), (WEBHOOK, native.to_submission)):
        for number in (1, 2):
            mapped = read(parse_strict(made(way.body(()), number)), context)
            person, referral = mapped.submission.person, mapped.submission.referral
            seen |= {(way.name, person.identifiers[0]), referral.task_identifiers[0]}
    assert len(seen) == 8


def test_the_senders_id_is_found_in_either_answer() -> None:
    name = "0b6c3d4e-1111-4222-8333-abcdefabcdef"
    for answer in (f'"location":"Task/{name}/_history/1"', f'{{"referral":{{"id":"{name}"'):
        found = TASK.search(answer.encode())
        assert found is not None
        assert found[1].decode() == name


def test_shares_say_what_part_of_the_busy_time_they_explain() -> None:
    before = Moment(busy=10.0, parts={"hub": 1.0, "kafka": 2.0})
    after = Moment(busy=14.0, parts={"hub": 3.0, "kafka": 3.0})
    shares = _shares(before, after, 1000, 2.0)
    assert shares["ms_per_referral"] == {"hub": 2.0, "kafka": 1.0}
    assert (shares["explained"], shares["busy_cores"]) == (0.75, 2.0)


def test_the_table_holds_every_figure() -> None:
    run = {
        "rate": 100.0,
        "doubled": 0,
        "accepted": 9,
        "lost": 0,
        "plan": {"rate": 50.0},
        "ms": {"stored_by_partner": {"p50": 1.0, "p99": 2.0, "max": 3.0}, "accepted_by_hub": None},
        "cpu": _shares(Moment(busy=1, parts={"hub": 1}), Moment(busy=2, parts={"hub": 2}), 10, 1),
        "transactions_per_referral": 3.0,
    }
    events = {"bare_per_second": 9.0, "path_per_second": 3.0, "ratio": 0.33, "cpu_ratio": 0.3}
    text = report.table(
        {
            "sustained": [run, run],
            "half_load": [run],
            "native-webhook": [run],
            "native-told": [run],
            "events": events,
            "decision": rules.decisions(NOW, timed=100, again=100),
            "custody": rules.custody(leaves=100, proofs=10),
            "memory_mb": {"vault": 1.0, "hub": 2.0},
        }
    )
    for part in ("100/s", "1 / 2 ms", "100.00 ms", "33%", "3 MB", "custody proof"):
        assert part in text
