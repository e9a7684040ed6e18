"""AuditEvent: what left about the caller's own referrals, from the custody log.

It guards that a sender sees the disclosures of what it sent and a recipient what it was given, each
under ids of its own, and that a recipient learns neither another recipient nor an exact instant of
ours. The leaves are written by the services in the transaction of each effect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson
from starlette.responses import Response

from connectors.fhir_r4.inbound.tables import pairs
from connectors.fhir_r4.outbound.content import ACT_REASON, present, system
from services.gateway.fhir import answering, paging, render, store
from services.gateway.fhir.render import Resource, View
from services.gateway.fhir.search import bounds
from services.gateway.http import Call, fhir
from services.gateway.views import Views
from services.kit.aliases import own_instant
from services.kit.crypto import hmac_sha256, open_id, seal_id
from services.kit.errors import Refused
from services.kit.ports.referral import Referral

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
LIFECYCLE: Final = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
KIND_OF_ENTITY: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
ROLE_OF_ENTITY: Final = "http://terminology.hl7.org/CodeSystem/object-role"
RESOURCE_TYPE: Final = "http://hl7.org/fhir/resource-types"
OUTCOMES: Final = {"disclosed": "0", "unknown": "4"}
"""It arrived; it may have arrived, the connection broke."""
_FIND: Final = "select * from custody.disclosures($1, $2, $3, $4, $5, $6, $7)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Disclosure:
    """One leaf about something that left."""

    place: int
    leaf_ref: UUID
    kind: str
    at: datetime
    body: Mapping[str, Any]

    @property
    def referral_ref(self) -> UUID:
        """The referral it was about."""
        return UUID(self.body["referral_ref"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Which disclosures of an organisation."""

    leaf: UUID | None = None
    referral: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: int = -1
    limit: int = paging.MOST


async def find(conn: Any, org: str, query: Query) -> list[Disclosure]:
    """In the order of the log."""
    rows = await conn.fetch(
        _FIND, org, query.leaf, query.referral, query.since, query.until, query.after, query.limit
    )
    return [
        Disclosure(
            place=row["id"],
            leaf_ref=row["leaf_ref"],
            kind=row["kind"],
            at=row["at"],
            body=orjson.loads(row["body"]),
        )
        for row in rows
    ]


def audit_event(found: Disclosure, view: View, patient: UUID | None, cell: str) -> Resource:
    """The disclosure as a party of it may know it; `patient` as the recipient knows the person."""
    body, base = found.body, view.frame.base
    source = view.is_source
    who = view.id("patient") if source else patient
    entities = [
        _entity("Patient", who, person=True) if who else None,
        _entity("Consent", view.id("consent")),
        _entity("Task", view.id("task"), details=body["categories"], base=base),
    ]
    return present(
        {
            "resourceType": "AuditEvent",
            "id": own_id(view, found.leaf_ref),
            "type": {"system": DCM, "code": "110106" if source else "110107"},
            "subtype": [{"system": LIFECYCLE, "code": "disclose"}],
            "action": "R" if source else "C",
            "recorded": _recorded(found, view),
            "outcome": OUTCOMES[found.kind],
            "purposeOfEvent": [{"coding": _purpose(base, body["purpose"])}],
            "agent": [
                _agent("110153", view.source, asked=False),
                _agent("110152", view.state.to_org, asked=True),
            ],
            "source": {"observer": {"display": cell}},
            "entity": [entity for entity in entities if entity],
        }
    )


def _recorded(found: Disclosure, view: View) -> str:
    at = found.at
    if not view.is_source:
        at = own_instant(view.frame.alias_key, found.leaf_ref, 0, view.org, at)
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _purpose(base: str, purpose: str) -> list[Resource]:
    nearest = pairs("purposes", "purpose", "v3").get(purpose)
    ours = [{"system": system(base, "purpose"), "code": purpose}]
    return [*ours, {"system": ACT_REASON, "code": nearest}] if nearest else ours


def _agent(code: str, org: str, *, asked: bool) -> Resource:
    return {
        "type": {"coding": [{"system": DCM, "code": code}]},
        "who": {"reference": f"Organization/{org}"},
        "requestor": asked,
    }


def _entity(
    kind: str,
    name: object,
    *,
    person: bool = False,
    details: Sequence[str] = (),
    base: str = "",
) -> Resource:
    entity: Resource = {"what": {"reference": f"{kind}/{name}"}}
    if person:
        entity["type"] = {"system": KIND_OF_ENTITY, "code": "1"}
        entity["role"] = {"system": ROLE_OF_ENTITY, "code": "1"}
    else:
        entity["type"] = {"system": RESOURCE_TYPE, "code": kind}
    if details:
        label = system(base, "data_category")
        entity["detail"] = [{"type": label, "valueString": code} for code in details]
    return entity


def own_id(view: View, leaf_ref: UUID) -> str:
    """The reader's own id of a leaf."""
    return str(seal_id(_key(view.frame.alias_key, view.org), leaf_ref))


def _key(alias_key: bytes, org: str) -> bytes:
    return hmac_sha256(alias_key, b"audit", org.encode())


class Audit:
    """Handlers of `/fhir/AuditEvent`."""

    def __init__(self, views: Views, referral: Referral, *, public_url: str, cell: str) -> None:
        self._views = views
        self._referral = referral
        self._url = f"{public_url}/fhir/AuditEvent"
        self._cell = cell

    async def read(self, call: Call) -> Response:
        """`GET` of one."""
        try:
            name = UUID(call.request.path_params["id"])
        except ValueError:
            raise Refused.of("not-found", "resource") from None
        leaf = open_id(_key(self._views.keys.alias, call.org), name)
        _, found = await self._shown(call, Query(leaf=leaf))
        if not found:
            raise Refused.of("not-found", "resource")
        return answering.resource(call, found[0])

    async def search(self, call: Call) -> Response:
        """`GET` of many: by `date` and `entity` (the caller's own Task)."""
        items = call.request.query_params.multi_items()
        given = paging.singles([item for item in items if item[0] != "date"])
        since, until = bounds([value for name, value in items if name == "date"])
        after = -1
        if "_cursor" in given:
            after = int(paging.unseal(given["_cursor"], call.org, self._views.keys.cursor)[0])
        query = Query(
            referral=await self._referral_of(call, given["entity"]) if "entity" in given else None,
            since=since,
            until=until,
            after=after,
            limit=paging.count(given.get("_count")),
        )
        last, found = await self._shown(call, query)
        cursor = paging.seal([last], call.org, self._views.keys.cursor) if last else None
        following = paging.next_link(self._url, items, cursor)
        return fhir(render.searchset(found, paging.link(self._url, items), following))

    async def _referral_of(self, call: Call, reference: str) -> UUID:
        """The referral behind the caller's own Task; one of nobody matches nothing."""
        try:
            name = UUID(reference.removeprefix("Task/"))
        except ValueError:
            raise Refused.of("not-supported", "parameter") from None
        async with self._views.pool.acquire() as conn:
            target = (await store.find(conn, [(call.org, "task", name)]))[0]
        return target.referral_ref if target is not None else name

    async def _shown(self, call: Call, query: Query) -> tuple[int, list[Resource]]:
        """Where a full page ended (0: there is no more), and its resources."""
        async with self._views.pool.acquire() as conn:
            found = await find(conn, call.org, query)
            refs = sorted({one.referral_ref for one in found})
            subjects = await store.subjects(conn, refs)
            patients = await store.patients(conn, call.org, refs)
        states = await self._referral.read(refs)
        frame = await self._views.frame()
        views = {
            state.referral_ref: View(
                frame=frame,
                org=call.org,
                state=state,
                subject_ref=subjects[state.referral_ref],
            )
            for state in states
            if state is not None and state.referral_ref in subjects
        }
        resources = [
            audit_event(one, view, patients.get(one.referral_ref), self._cell)
            for one in found
            if (view := views.get(one.referral_ref)) is not None
        ]
        return found[-1].place if len(found) == query.limit else 0, resources
