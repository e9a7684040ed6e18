"""Rows of records that are put right: what of a case can be read, who is known by what no more.

It sees sealed bytes, digests and ids only; what they mean is `amend`'s.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from services.vault.store import READABLE, Readable, readable_of


async def purposes_of(conn: Any, case_ref: UUID) -> list[str]:
    """Purposes under whose keys records of a case are."""
    rows = await conn.fetch(
        "select distinct purpose from vault.version_key where case_ref = $1 order by purpose",
        case_ref,
    )
    return [row["purpose"] for row in rows]


async def newest(conn: Any, case_ref: UUID) -> list[tuple[int, Readable]]:
    """The newest accepted version of each record of a case with each live key that opens it.

    Each with the version as it was first given.
    """
    rows = await conn.fetch(
        f"select coalesce(v.first_version, v.vault_version) as first, {READABLE}"  # noqa: S608
        " from (select distinct on (coalesce(w.first_version, w.vault_version)) w.*"
        "        from vault.version w"
        "        join vault.attempt a on a.attempt = w.attempt and a.state = 'kept'"
        "       where w.case_ref = $1"
        "       order by coalesce(w.first_version, w.vault_version), w.vault_version desc) v"
        " join vault.version_key x using (case_ref, vault_version)"
        " join keys.data_key k on k.case_ref = v.case_ref and k.purpose = x.purpose"
        "  and k.version = x.key_version and k.wrapped is not null"
        " order by 1, x.purpose",
        case_ref,
    )
    return [(row["first"], readable_of(row)) for row in rows]


async def take_away_later(
    conn: Any, attempt: UUID, identifiers: Sequence[tuple[str, bytes, UUID]]
) -> None:
    """Identifiers that go from (organisation, digest, subject) once the attempt is kept."""
    if identifiers:
        await conn.execute(
            "insert into vault.taken_away (attempt, org, digest, subject_ref)"
            " select $1, * from unnest($2::text[], $3::bytea[], $4::uuid[])",
            attempt,
            *(list(column) for column in zip(*identifiers, strict=True)),
        )
