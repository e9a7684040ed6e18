"""Refusals of the native surface: its own mutations, and the cases of FHIR said natively.

A case that changes the Bundle is said natively by the twin of the changed Bundle, so that the same
wrong meets the same rule; its field is the native name.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from connectors.sdk.faults import Fault
from services.kit.errors import catalogue, native_fault
from tests.support.native_mutations import NATIVE_MUTATIONS, NativeMutation
from tests.support.natives import twin
from tests.support.refusals import Case, Change, Make, Request, full, in_body, simple
from tests.support.refusals_rules import CONSENT, DRIVEN, PEOPLE, RULES
from tests.support.refusals_wire import BYTES, HTTP, case
from tests.support.refusals_world import World

FHIR_ALONE = frozenset({"51 entries", "wants XML by _format", "no key", "an escaped key twice"})
"""Cases of what only a Bundle or a FHIR query has, or said here in another way."""


@dataclass
class Native(Request):
    """A native request with the Bundle that it is the twin of."""

    bundle: Any = field(default=None, repr=False)


def natively(make: Make) -> Make:
    """The native twin of a `POST /fhir`."""

    def made(world: World, number: int) -> Native:
        fhir = make(world, 20_000 + number)
        body = twin(fhir.body, fhir.org)
        headers = {"Content-Type": "application/json", **fhir.headers}
        return Native("POST", "/v1/referrals", fhir.org, body, headers, bundle=fhir.body)

    return made


def _twice(change: Change) -> Change:
    """The change to the Bundle, and its twin in place of the body."""

    def apply(world: World, request: Any) -> None:
        native_body, before = request.body, twin(request.bundle, request.org)
        request.body = request.bundle
        change(world, request)
        if isinstance(request.body, bytes):
            return
        request.bundle, request.body = request.body, native_body
        after = twin(request.bundle, request.org)
        if after != before:
            request.body = after

    return apply


def _named(code: str, rule: str, at: str) -> str:
    """The native name of the field that a case of FHIR names."""
    if catalogue()[code, rule].field == "*":
        return at
    return native_fault(Fault(code, at, rule)).field


def said(one: Case) -> Case:
    """A case of FHIR whose wrong lies in what the Bundle says."""
    return replace(
        one,
        name=f"native: {one.name}",
        field=_named(one.code, one.rule, one.field),
        make=natively(one.make),
        change=_twice(one.change),
        shape="native",
    )


def on_the_wire(one: Case) -> Case:
    """A case of FHIR whose wrong lies in bytes, headers or address."""
    return replace(
        one,
        name=f"native: {one.name}",
        make=natively(full() if one in BYTES else one.make),
        shape="native",
    )


def of_mutation(mutation: NativeMutation) -> Case:
    """A case of the native mapping's own table."""
    return case(
        f"native: {mutation.name}",
        mutation.code,
        mutation.rule,
        mutation.field,
        natively(full(minor=True) if mutation.minor else full()),
        in_body(mutation.change),
        shape="native",
    )


def _no_key(document: Any) -> None:
    del document["referral"]["task_identifiers"]


OWN = (
    case(
        "native: no key", "required", "idempotency-key", "referral.task_identifiers",
        natively(full()), in_body(_no_key), shape="native",
    ),
    case(
        "native: FHIR", "media-type", "media-type", "Content-Type", natively(full()),
        lambda world, request: request.headers.update({"Content-Type": "application/fhir+json"}),
        kept=False, shape="native",
    ),
    case(
        "native: no such code list", "not-found", "resource", "",
        lambda world, number: Request("GET", "/v1/codelists/priority", "ong-norte"),
        lambda world, request: setattr(request, "path", "/v1/codelists/zzqx"),
        kept=False, shape="native",
    ),
)  # fmt: skip
SAID = tuple(said(one) for one in (*RULES, *CONSENT, *PEOPLE))
NATIVE_DRIVEN = tuple(
    said(replace(one, make=simple(requisition="C-8")) if one.code == "in-progress" else one)
    for one in DRIVEN
)
NATIVE_CASES = (
    *(of_mutation(m) for m in NATIVE_MUTATIONS if m.name != "a part is missing"),
    *(on_the_wire(one) for one in (*BYTES, *HTTP) if one.name not in FHIR_ALONE),
    *OWN,
    *SAID,
)


def elsewhere() -> dict[tuple[str, str], Path]:
    """Rows that the tests of their own part play: (code, rule) → the test."""
    root = Path(__file__).parents[2]
    text = (Path(__file__).parent / "refusals_elsewhere.txt").read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {(code, rule): root / where for code, rule, where in rows}
