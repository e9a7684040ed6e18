"""An access report says all, in the reader's language, to one person, and can be checked."""

import base64
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import orjson
import pytest

from connectors.sdk.types import (
    Address,
    Case,
    Coded,
    Identifier,
    Model,
    Name,
    Person,
    Photo,
    Relative,
    Telecom,
    split,
)
from schemas.codes import Lang, code_lists, codes
from services.gateway.admin.timeline import CaseLeaf
from services.gateway.staff.domain import OPENING_REASONS
from services.gateway.subject.document import Gathered, Opened, document
from services.gateway.subject.folder import COMMANDS, READ_ME, Folder, folder
from services.gateway.subject.markup import tag
from services.gateway.subject.wording import LANGUAGES, Wording, field_names, texts, words
from services.kit.canonical import canonical
from services.kit.crypto import new_ed25519
from services.kit.ports.consent import ConsentRecord, ConsentRule
from services.kit.ports.vault import CopiedVersion

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONSENT, SEED = uuid4(), new_ed25519()[0]
NAMES = {"ong-norte": "ONG <Norte>", "refugio-sur": "Refugio Sur"}
PIXEL = base64.b64encode(b"\x89PNG invented").decode()
PERSON = Person(
    identifiers=(Identifier(system="urn:doc:col", value="CC-79900111", type="national_id"),),
    names=(Name(family="Urdaniel", given=("Casilda",)),),
    birth_date="1999-04-02",
    sex="female",
    is_minor=False,
    nationalities=("COL",),
    telecom=(Telecom(system="phone", value="+57 000 1112233", use="mobile"),),
    addresses=(Address(line=("Calle Inventada 3",), city="San Telmo del Llano"),),
    relatives=(
        Relative(
            relationship=("SIS",),
            names=(Name(text="Benita Urdaniel"),),
            telecom=(Telecom(value="+57 000 4445566"),),
            sex="female",
            birth_date="2001",
        ),
    ),
    photos=(Photo(content_type="image/png", data=PIXEL),),
)
CASE = Case(
    phenomenon="trafficking",
    conditions=(Coded(system="http://hl7.org/fhir/sid/icd-10", code="F43.1", text="insomnio"),),
    narratives=("She said <script>alert(1)</script>\nand went on.",),
)


def wording(lang: Lang = "es") -> Wording:
    return Wording(lang=lang, zone=ZoneInfo("America/Bogota"))


def record(person: Person = PERSON) -> bytes:
    originals = {
        "requisition": {"system": "urn:ong", "value": "CASO-77"},
        "tasks": [{"value": "TAREA-8"}],
        "consent": {"giver": "self", "approver": "Directora Inventada"},
    }
    return canonical({"split": split(person, CASE), "originals": originals})


def entry(kind: str, minutes: int, **body: Any) -> CaseLeaf:
    at = NOW + timedelta(minutes=minutes)
    return CaseLeaf(leaf_ref=uuid4(), kind=kind, at=at, body=body, position=1, signed=True)


def intent(kind: str, minutes: int, grant: UUID, to_org: str = "refugio-sur") -> CaseLeaf:
    return entry(
        kind,
        minutes,
        grant_ref=str(grant),
        to_org=to_org,
        purpose="service_referral",
        categories=["pseudonymous_core", "contact"],
        legal_basis="consent",
        actor="cell-demo",
    )


def consent(version: int = 1, **changes: Any) -> ConsentRecord:
    permit = ConsentRule(
        decision="permit",
        purpose="service_referral",
        to_org="refugio-sur",
        to_kind=None,
        data_categories=("pseudonymous_core", "contact"),
        valid_from=NOW,
        valid_to=NOW + timedelta(days=90),
    )
    made = ConsentRecord(
        consent_ref=CONSENT,
        case_ref=uuid4(),
        source_org="ong-norte",
        status="given",
        legal_basis="consent",
        reason_code=None,
        approver_ref="a.0123",
        notice="referral-notice/1",
        language="es",
        form="written_signature",
        giver="self",
        assent=None,
        given_at=NOW,
        valid_from=NOW,
        valid_to=NOW + timedelta(days=90),
        version=version,
        rules=(permit,),
    )
    return replace(made, **changes)


def gathered(**changes: Any) -> Gathered:
    done, broken = uuid4(), uuid4()
    made = Gathered(
        report_ref=uuid4(),
        leaf_ref=uuid4(),
        made_at=NOW + timedelta(days=1),
        cell="cell-demo",
        sender="ong-norte",
        opened_at=NOW,
        status="open",
        names=NAMES,
        versions=(CopiedVersion(vault_version=1, stored_at=NOW, record=record()),),
        other_cases=0,
        leaves=(
            intent("disclosure_intent", 1, done),
            intent("disclosed", 2, done),
            intent("disclosure_intent", 3, broken, "otra-org"),
            intent("not_sent", 4, broken, "otra-org"),
        ),
        consents=(consent(),),
        states={},
        openings=(Opened(at=NOW, reason_code="subject_access", orgs=("ong-norte", "refugio-sur")),),
    )
    return replace(made, **changes)


def made(lang: Lang = "es", **changes: Any) -> tuple[Mapping[str, Any], Folder]:
    report = document(gathered(**changes), wording(lang))
    return report, folder(report, SEED, wording(lang))


def html(files: Folder) -> str:
    return files.files["report.html"].decode()


# --- words --------------------------------------------------------------------------------------


def test_every_text_and_field_stands_in_three_languages() -> None:
    names = [one.names for one in field_names().values()]
    for said in (*texts().values(), *words().values(), *names):
        assert set(said) == set(LANGUAGES)
        assert all(isinstance(text, str) and text for text in said.values()), said


@pytest.mark.parametrize(("owner", "model"), [("person", Person), ("case", Case)])
def test_every_field_of_a_record_has_a_name_and_its_code_list_exists(
    owner: str, model: type[Model]
) -> None:
    kept = {n for n, f in model.model_fields.items() if f.metadata}
    assert {name for part, name in field_names() if part == owner} == kept
    lists = {name for name, _ in words()} | code_lists().keys() | {""}
    assert {found.codes for found in field_names().values()} <= lists


def test_every_code_that_a_report_may_show_has_words() -> None:
    wanted = [f"category-{code}" for code in codes("data_category")]
    wanted += [f"standing-{code}" for code in (*codes("withdrawal_effect"), "holds")]
    wanted += [f"reason-{code}" for code in OPENING_REASONS]
    assert set(wanted) <= set(texts())


# --- what it says -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("es", ("Sus datos y quién los recibió", "Llegó", "Femenino", "1 mar 2026", "hermana;")),
        ("en", ("Your data and who received it", "It arrived", "Female", "(telephone, mobile)")),
        ("pt", ("Seus dados e quem os recebeu", "Chegou", "Feminino", "Encaminhamento a serviço")),
    ],
)
def test_a_report_is_in_the_language_asked_for(lang: Lang, words: tuple[str, ...]) -> None:
    _, files = made(lang)
    assert f'<html lang="{lang}">' in html(files)
    for word in words:
        assert word in html(files)
    assert READ_ME[lang] in files.files


def test_all_that_is_held_is_in_it_and_nobody_of_the_staff() -> None:
    report, files = made()
    for value in (
        "CC-79900111", "Casilda Urdaniel", "1999-04-02", "+57 000 1112233", "Calle Inventada 3",
        "Benita Urdaniel", "insomnio", "CASO-77", "TAREA-8", "ONG &lt;Norte&gt;",
    ):  # fmt: skip
        assert value in html(files), value
    told = orjson.dumps(report).decode() + html(files)
    assert "Directora Inventada" not in told
    assert "a.0123" not in told
    (version,) = report["record"]
    names = {field["name"] for group in version["data"] for field in group["fields"]}
    assert {"person.names", "person.photos", "case.narratives"} <= names


def test_what_a_partner_wrote_is_text_and_never_markup() -> None:
    _, files = made()
    assert "<script" not in html(files)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;<br>and went on." in html(files)
    assert f'src="data:image/png;base64,{PIXEL}"' in html(files)
    assert str(tag("p", 'a"<b', title='"><i')) == '<p title="&quot;&gt;&lt;i">a&quot;&lt;b</p>'
    for kind, data in (("image/svg+xml", PIXEL), ("image/png", '"onload=x')):
        other = PERSON.model_copy(update={"photos": (Photo(content_type=kind, data=data),)})
        version = CopiedVersion(vault_version=1, stored_at=NOW, record=record(other))
        assert "<img" not in html(made(versions=(version,))[1])


def test_each_disclosure_stands_once_as_it_ended_and_what_did_not_leave_stands_apart() -> None:
    report, _ = made()
    (one,) = report["recipients"]
    assert (one["org"], one["name"], one["standing"]["code"]) == (
        "refugio-sur", "Refugio Sur", "holds",
    )  # fmt: skip
    (row,) = one["disclosures"]
    assert row["outcome"] == "disclosed"
    assert len(row["leaves"]) == 2
    assert [c["code"] for c in row["categories"]] == ["pseudonymous_core", "contact"]
    assert [(r["to"]["org"], r["outcome"]) for r in report["stopped"]] == [("otra-org", "not_sent")]


@pytest.mark.parametrize("kind", ["disclosure_intent", "unknown"])
def test_what_may_have_left_counts_as_received(kind: str) -> None:
    report, _ = made(leaves=(intent(kind, 1, uuid4()),))
    assert report["recipients"][0]["disclosures"][0]["outcome"] == kind


def erasure(kind: str, minutes: int, ref: UUID, **body: Any) -> CaseLeaf:
    return entry(kind, minutes, erasure_ref=str(ref), to_org="refugio-sur", **body)


@pytest.mark.parametrize(
    ("extra", "standing"),
    [
        ((), "pending"),
        ((("deleted", {}),), "deleted"),
        ((("restricted", {}), ("retained_legal_duty", {})), "retained_legal_duty"),
    ],
)
def test_requests_to_erase_and_their_answers_say_how_it_stands(
    extra: tuple[tuple[str, Any], ...], standing: str
) -> None:
    ref = uuid4()
    leaves = [intent("disclosed", 1, uuid4()), erasure("erasure_requested", 5, ref)]
    leaves += [erasure("erasure_reported", 6 + n, ref, status=s) for n, (s, _) in enumerate(extra)]
    report, files = made(leaves=leaves)
    (one,) = report["recipients"]
    assert one["standing"]["code"] == standing
    assert one["standing"]["label"] in html(files)
    assert len(one["erasures"]) == 1


def test_content_that_left_after_a_request_to_erase_is_held_again() -> None:
    leaves = [erasure("erasure_requested", 5, uuid4()), intent("disclosed", 9, uuid4())]
    assert made(leaves=leaves)[0]["recipients"][0]["standing"]["code"] == "holds"


def test_a_version_without_keys_says_so_and_an_older_one_shows_what_was_different() -> None:
    changed = PERSON.model_copy(update={"birth_date": "1998-04-02"})
    versions = (
        CopiedVersion(vault_version=1, stored_at=NOW, record=None),
        CopiedVersion(vault_version=2, stored_at=NOW, record=record(changed)),
        CopiedVersion(vault_version=3, stored_at=NOW, record=record()),
        CopiedVersion(vault_version=4, stored_at=NOW, record=record()),
    )
    report, files = made("en", versions=versions)
    assert [one["number"] for one in report["record"]] == [4, 3, 2, 1]
    assert report["record"][3]["data"] is None
    assert html(files).count("1998-04-02") == 1
    assert html(files).count("CC-79900111") == 1
    for key in ("destroyed-version", "same-as-newer", "only-differences"):
        assert texts()[key]["en"] in html(files)


def test_consents_show_each_change_at_its_time() -> None:
    rest = consent().rules[0]
    less = replace(rest, data_categories=("pseudonymous_core",))
    leaves = [
        entry("withdrawn", 10, consent_ref=str(CONSENT), consent_version=2, staff_id="officer-1"),
        entry("withdrawn", 20, consent_ref=str(CONSENT), consent_version=4),
    ]
    changes = (
        consent(),
        consent(2, rules=(less,)),
        consent(3, status="renewed"),
        consent(4, status="withdrawn", rules=()),
    )
    report, files = made("en", leaves=leaves, consents=changes)
    (one,) = report["consents"]
    assert not one["in_force"]
    assert [c["what"]["code"] for c in one["changes"]] == [
        "given", "changed", "renewed", "withdrawn",
    ]  # fmt: skip
    assert [c["by"] for c in one["changes"]][1::2] == [
        "by way of the network", "by way of ONG <Norte>",
    ]  # fmt: skip
    assert "officer-1" not in html(files)
    assert one["changes"][3]["at"] == "2026-03-01T07:20:00-05:00"


def test_a_case_of_which_nothing_left_says_so() -> None:
    report, files = made("en", leaves=(), versions=(), consents=(), other_cases=2)
    assert report["recipients"] == []
    assert texts()["nobody"]["en"] in html(files)
    assert "other cases of yours: 2" in html(files)


# --- the folder ---------------------------------------------------------------------------------


def run(place: Path, *words: str) -> str:
    done = subprocess.run(
        ["openssl", *words], cwd=place, capture_output=True, timeout=30, check=True
    )
    return done.stdout.decode()


def verified(place: Path, command: str) -> bool:
    done = subprocess.run(command.split(), cwd=place, capture_output=True, timeout=30, check=False)
    return done.returncode == 0 and b"Verified Successfully" in done.stdout + done.stderr


def test_openssl_alone_verifies_both_files_and_finds_a_flipped_byte(tmp_path: Path) -> None:
    _, files = made()
    for name, content in files.files.items():
        (tmp_path / name).write_bytes(content)
    read_me = (tmp_path / "LEEME.txt").read_text("utf-8")
    for command in COMMANDS:
        assert command in read_me
        assert command in html(files)
        assert verified(tmp_path, command)
    run(tmp_path, "pkey", "-pubin", "-in", "report-key.pem", "-outform", "DER", "-out", "key.der")
    digest = run(tmp_path, "dgst", "-sha256", "key.der")
    assert files.key_sha256 in digest
    for name, command in zip(("report.html", "report.json"), COMMANDS, strict=True):
        raw = bytearray((tmp_path / name).read_bytes())
        raw[len(raw) // 2] ^= 1
        (tmp_path / name).write_bytes(raw)
        assert not verified(tmp_path, command)


def test_a_report_and_its_parts_do_not_show_themselves() -> None:
    _, files = made()
    assert "Casilda" not in repr(files)
    assert "Casilda" not in repr(CopiedVersion(vault_version=1, stored_at=NOW, record=record()))
