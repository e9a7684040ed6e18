"""Native JSON → submission: what is read, what each refusal names; and FHIR twins judged alike."""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.fhir_r4 import mapping as fhir_r4
from connectors.native import mapping as native
from connectors.sandbox.natives import NativeSample
from connectors.sandbox.people import person
from connectors.sandbox.samples import FULL, Permit, Sample
from connectors.sdk.faults import Faults
from connectors.sdk.inbound import Context
from connectors.sdk.strict import parse_strict
from connectors.sdk.types import Submission, split
from services.kit.errors import catalogue
from tests.support.bundles import BASE, MUTATIONS, full_bundle
from tests.support.native_mutations import NATIVE_MUTATIONS, NativeMutation
from tests.support.natives import twin

NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)
CONTEXT = Context("ong-norte", NOW, "America/Bogota", BASE)
FIXTURES = Path(__file__).parents[3] / "connectors/native/fixtures"
ON_HUB = {"reference-invalid"}
"""Refused by the hub, which knows the referrals."""


def parsed(document: Any) -> Any:
    return parse_strict(json.dumps(document).encode())


def by_fhir(bundle: Any) -> Submission:
    return fhir_r4.to_submission(parsed(bundle), CONTEXT).submission


def natively(document: Any) -> Submission:
    return native.to_submission(parsed(document), CONTEXT).submission


def sample(*, minor: bool = False) -> Any:
    return full_bundle(now=NOW, seed=7, minor=minor)


def refused(read: Any, document: Any) -> set[tuple[str, str, str]]:
    with pytest.raises(Faults) as caught:
        read(document)
    return {(fault.code, fault.rule, fault.field) for fault in caught.value.faults}


@pytest.mark.parametrize("rich", [False, True])
def test_the_sandbox_writes_native_referrals_that_are_taken(rich: bool) -> None:
    found = natively(NativeSample(rich=rich, now=NOW).body())
    assert found.referral.to_org == "clinica-demo"
    assert found.consent.items[0].data_categories == ("contact", "health", "pseudonymous_core")


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.in.json")), ids=lambda path: path.name)
def test_a_fixture_maps_to_its_committed_submission(path: Any) -> None:
    found = native.to_submission(parse_strict(path.read_bytes()), CONTEXT).submission
    expected = json.loads(path.with_name(path.name.replace(".in.", ".out.")).read_text())
    assert found.model_dump(mode="json", exclude_defaults=True) == expected


@pytest.mark.parametrize(
    "mutation", [m for m in NATIVE_MUTATIONS if m.code not in ON_HUB], ids=lambda m: m.name
)
def test_one_mutation_gets_its_refusal(mutation: NativeMutation) -> None:
    document = twin(sample(minor=mutation.minor), now=NOW)
    natively(copy.deepcopy(document))
    mutation.change(document)
    found = refused(natively, document)
    if mutation.name == "a part is missing":
        found = {fault for fault in found if not fault[2].startswith("consent.")}
    assert found == {(mutation.code, mutation.rule, mutation.field)}
    assert all((code, rule) in catalogue() for code, rule, _ in found)


def test_a_wrong_that_both_can_say_is_refused_alike() -> None:
    said = {m.name: m for m in MUTATIONS}
    both = [(said[m.name], m) for m in NATIVE_MUTATIONS if m.name in said]
    assert len(both) > 25
    for one, other in both:
        assert (one.code, one.rule) == (other.code, other.rule), other.name
        assert one.minor == other.minor or other.name == "dissent"


def test_all_faults_are_told_at_once_and_none_of_them_twice() -> None:
    document = twin(sample(), now=NOW)
    document["person"]["sex"] = "zzqx"
    document["consent"] |= {"language": "de", "giver": "zzqx", "valid_to": 7}
    document["referral"] |= {"zzqx": 1, "response_due": "2020-01-01"}
    assert refused(natively, document) == {
        ("code-invalid", "not-in-list", "person.sex"),
        ("consent-language", "language", "consent.language"),
        ("code-invalid", "not-in-list", "consent.giver"),
        ("consent-giver", "giver", "consent.giver_relative"),
        ("structure", "wrong-type", "consent.valid_to"),
        ("structure", "unknown-element", "referral"),
    }


def test_a_date_only_end_includes_that_day_in_the_cells_zone() -> None:
    document = twin(sample(), now=NOW)
    document["consent"]["valid_to"] = "2026-06-30"
    assert natively(document).consent.valid_to == datetime(2026, 7, 1, 5, tzinfo=UTC)


def test_a_consent_alone_is_judged_by_the_same_rules() -> None:
    document = twin(sample(), now=NOW)["consent"]
    assert native.to_consent(document, CONTEXT).notice == "referral-notice/1"
    document["language"] = "de"
    faults = refused(lambda d: native.to_consent(parsed(d), CONTEXT), document)
    assert faults == {("consent-language", "language", "consent.language")}


CATEGORIES = ("contact", "health", "identity", "experience_narrative", "family")


def built(**given: Any) -> Any:
    """The Bundle of these options."""
    rich: dict[str, Any] = dict(FULL) if given["rich"] else {}
    return Sample(**(rich | given), now=NOW, seed=3).bundle()


BUNDLES: Any = st.builds(
    built,
    person=st.integers(1, 400).map(person),
    rich=st.booleans(),
    minor=st.booleans(),
    priority=st.sampled_from(("stat", "asap", "urgent", "routine")),
    valid_days=st.integers(1, 360),
    requisition=st.sampled_from((None, "C-1")),
    more_permits=st.lists(
        st.builds(
            Permit,
            st.sampled_from(("refugio-sur", "otra-org")),
            st.sampled_from(("service_referral", "family_tracing")),
            st.sets(st.sampled_from(CATEGORIES), min_size=1).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    denies=st.sampled_from(((), (("kind:police", ("contact",)),), (("otra-org", ("health",)),))),
)


@given(BUNDLES)
@settings(max_examples=60, deadline=None)
def test_fhir_and_native_twins_are_the_same_submission_and_the_same_split(bundle: Any) -> None:
    one, other = by_fhir(bundle), natively(twin(bundle, now=NOW))
    assert one == other
    assert split(one.person, one.case) == split(other.person, other.case)


VALUES: Any = st.sampled_from(
    (None, True, 0, -1, 2**40, "", " ", "zzqx", "2026-13-45", "2026-02-30T25:00:00Z", [], {}, [[]],
     [None], {"zzqx": 1}, ["zzqx"], "9999999-01-01", "0000")
)  # fmt: skip


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_mutation_maps_or_is_refused_by_rows_and_echoes_nothing(data: Any) -> None:
    document = twin(sample(minor=data.draw(st.booleans())), now=NOW)
    node: Any = document
    while True:
        keys = sorted(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(VALUES)
    try:
        natively(document)
    except Faults as faults:
        for fault in faults.faults:
            assert (fault.code, fault.rule) in catalogue()
            assert "zzqx" not in fault.field
