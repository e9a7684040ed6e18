"""Which of our things an id means to an organisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A referral as one of its parties names it; `target` is what the id stands for."""

    kind: str
    target: UUID
    referral_ref: UUID
    case_ref: UUID
    consent_ref: UUID
    subject_ref: UUID
    from_org: str
    to_org: str
    accepted_at: datetime


Name = tuple[str, str, UUID]
"""(organisation, kind, id)."""


async def find(conn: Any, names: Sequence[Name]) -> list[Target | None]:
    """What each of these ids is to its organisation; None when it is nothing to it."""
    rows = await conn.fetch(
        "select n.o, a.kind, a.target, r.*"
        " from unnest($1::text[], $2::text[], $3::uuid[]) with ordinality n(g, k, i, o)"
        " join gateway.alias a on a.alias = n.i and a.org = n.g and a.kind = n.k"
        " join gateway.referral r using (referral_ref)",
        *(list(column) for column in zip(*names, strict=True)),
    )
    found = {row["o"]: _target(row) for row in rows}
    return [found.get(place) for place in range(1, len(names) + 1)]


def _target(row: Any) -> Target:
    fields = dict(row)
    del fields["o"]
    return Target(**fields)


Known = tuple[str, UUID, UUID]
"""(recipient, its Patient id of a person, referral)."""


async def learn_patients(conn: Any, learnt: Sequence[Known]) -> None:
    """Remember the Patient ids under which recipients know the persons of referrals."""
    newest = {(org, alias): referral_ref for org, alias, referral_ref in learnt}
    rows = sorted((org, alias, referral_ref) for (org, alias), referral_ref in newest.items())
    await conn.execute(
        "insert into gateway.alias (alias, org, kind, referral_ref, target)"
        " select q.a, q.o, 'patient', r.referral_ref, r.subject_ref"
        " from unnest($1::text[], $2::uuid[], $3::uuid[]) with ordinality q(o, a, f, n)"
        " join gateway.referral r on r.referral_ref = q.f order by q.n"
        " on conflict (alias, org) do update set referral_ref = excluded.referral_ref"
        " where alias.referral_ref <> excluded.referral_ref",
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def subjects(conn: Any, referrals: Sequence[UUID]) -> dict[UUID, UUID]:
    """Subject of each referral."""
    rows = await conn.fetch(
        "select referral_ref, subject_ref from gateway.referral where referral_ref = any($1)",
        list(referrals),
    )
    return {r["referral_ref"]: r["subject_ref"] for r in rows}


async def patients(conn: Any, org: str, referrals: Sequence[UUID]) -> dict[UUID, UUID]:
    """The Patient id under which an organisation knows the person of each referral, if it does."""
    rows = await conn.fetch(
        "select r.referral_ref, a.alias from gateway.referral r"
        " join gateway.alias a on a.target = r.subject_ref and a.org = $1 and a.kind = 'patient'"
        " where r.referral_ref = any($2)",
        org,
        list(referrals),
    )
    return {r["referral_ref"]: r["alias"] for r in rows}


async def person(conn: Any, org: str, subject_ref: UUID) -> UUID | None:
    """The Patient id under which an organisation knows a person."""
    found: UUID | None = await conn.fetchval(
        "select alias from gateway.alias where target = $2 and org = $1 and kind = 'patient'"
        " order by alias limit 1",
        org,
        subject_ref,
    )
    return found


async def of_referral(conn: Any, referral_ref: UUID) -> Target:
    """A referral by the hub's own reference, as its sender's Task would name it."""
    row = await conn.fetchrow(
        "select 'task' as kind, r.referral_ref as target, r.* from gateway.referral r"
        " where r.referral_ref = $1",
        referral_ref,
    )
    return Target(**dict(row))
