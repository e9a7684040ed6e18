"""What consent remembers of the case log: who received something, and what they did after its end.

Kept for `cauce consent show` and the notice to the person; no decision rests on it. Runs inside the
consumer's transaction, so a repeat is stopped by its cursor; each statement is safe to repeat too.
"""

from collections.abc import Sequence
from typing import Any, Final

from schemas.models import ConsentEffectReported, DisclosureMade
from services.kit.bus import Received

TYPES: Final = frozenset({"disclosure.made", "consent.effect_reported"})

_DISCLOSED: Final = """
insert into consent.disclosure as d (consent_ref, case_ref, to_org, last_at)
select c, k, o, max(t) from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[])
    u(c, k, o, t) group by c, k, o order by c, o
on conflict (consent_ref, to_org) do update set last_at = greatest(d.last_at, excluded.last_at)
"""
_REPORTED: Final = """
insert into consent.effect (erasure_ref, case_ref, to_org, withdrawal_effect, reported_at)
values ($1, $2, $3, $4, $5)
on conflict (erasure_ref) do update set withdrawal_effect = excluded.withdrawal_effect,
    reported_at = excluded.reported_at
"""


async def handle(conn: Any, received: Sequence[Received]) -> None:
    """Write down disclosures and reported effects of a batch."""
    events = [r.event for r in received]
    made = [e for e in events if isinstance(e, DisclosureMade)]
    if made:
        await conn.execute(
            _DISCLOSED,
            [e.consent_ref for e in made],
            [e.case_ref for e in made],
            [e.to_org for e in made],
            [e.occurred_at for e in made],
        )
    reported = [e for e in events if isinstance(e, ConsentEffectReported)]
    if reported:
        await conn.executemany(
            _REPORTED,
            [
                (e.erasure_ref, e.case_ref, e.to_org, e.withdrawal_effect, e.reported_at)
                for e in reported
            ],
        )
