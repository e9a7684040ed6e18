"""Answers of partners that are asked for them: Tasks changed at the partner, erasures completed.

It guards that an answer seen twice changes nothing (command ids follow from Task and version) and
that one answer which cannot be mapped stops itself alone. What an answer means is the connector's
table; whether it is legal, the state machine's.
"""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from connectors.fhir_r4.outbound import bundle
from connectors.fhir_r4.status import commands_for, read_answer
from connectors.sdk.errors import ConnectorError
from connectors.sdk.faults import Faults
from services.delivery import erasures
from services.delivery.worker import Parts
from services.kit.crypto import joined, sha256, uuid4_from
from services.kit.partners import Partner
from services.kit.ports.referral import Command
from services.kit.steps import step

OVERLAP: Final = timedelta(seconds=30)
"""How far a poll looks back: clocks differ, and a search may miss what is being written."""
FIRST: Final = timedelta(days=1)
_SINCE: Final = "select since from delivery.poll where org = $1"
_KEEP: Final = """
insert into delivery.poll (org, since) values ($1, $2)
on conflict (org) do update set since = excluded.since
"""
_WHOSE: Final = "select referral_ref from delivery.alias where alias = $1 and to_org = $2"


async def poll(parts: Parts) -> None:
    """One round over all partners that are asked."""
    for partner in (await parts.partners.all()).values():
        connector = partner.connector
        if partner.status != "active" or connector is None or connector.answers != "poll":
            continue
        try:
            await _poll_partner(parts, partner)
        except ConnectorError as error:
            parts.log.info("poll-failed", org=partner.org, rule=error.rule)
    await _poll_erasures(parts)


async def _poll_partner(parts: Parts, partner: Partner) -> None:
    begun = parts.clock()
    since = await parts.pool.fetchval(_SINCE, partner.org) or begun - FIRST
    client = parts.links.client(partner)
    for task in await client.changed_since(since - OVERLAP):
        await _take(parts, partner, task)
    await parts.pool.execute(_KEEP, partner.org, begun)


async def _take(parts: Parts, partner: Partner, task: dict[str, Any]) -> None:
    own = bundle.our_task(task, parts.frame.base)
    if own is None or task.get("status") == "requested":
        return
    ref = await parts.pool.fetchval(_WHOSE, own, partner.org)
    state = (await parts.referral.read([ref]))[0] if ref is not None else None
    if ref is None or state is None:
        return
    try:
        answer = read_answer(task, parts.frame.base)
        steps = commands_for("recipient", answer, state.status)
    except Faults as error:
        parts.log.info("answer-refused", org=partner.org, referral_ref=ref, code=_code(error))
        return
    version = str(task.get("meta", {}).get("versionId", ""))
    commands = [
        Command(
            command_id=_command_id(own, version, position),
            referral_ref=ref,
            command=one.command,
            actor_org=partner.org,
            actor_role="recipient",
            reason_code=one.reason_code,
            outcome=one.outcome,
            appointment_outcome=one.appointment_outcome,
            synthesised=one.synthesised,
        )
        for position, one in enumerate(steps)
    ]
    if commands:
        applied = (await parts.referral.apply([commands]))[0]
        if applied.rule is not None:
            parts.log.info("answer-refused", org=partner.org, referral_ref=ref, rule=applied.rule)


def _code(error: Faults) -> str:
    return error.faults[0].code


def _command_id(own: UUID, version: str, position: int) -> UUID:
    return uuid4_from(sha256(joined(b"poll", own.bytes, version.encode(), b"%d" % position)))


async def _poll_erasures(parts: Parts) -> None:
    for erasure in await erasures.waiting(parts.pool):
        partner = await parts.partners.get(erasure.to_org)
        if partner is None or partner.connector is None:
            continue  # it answers by itself
        try:
            client = parts.links.client(partner)
            found = await client.find_task(
                bundle.erasure_criteria(parts.frame.base, erasure.task_id)
            )
        except ConnectorError as error:
            parts.log.info("poll-failed", org=partner.org, rule=error.rule)
            continue
        effect = bundle.erasure_effect(found) if found is not None else None
        if effect is not None:
            await report(parts, erasure, effect, parts.clock())


async def report(parts: Parts, erasure: erasures.Erasure, effect: str, now: datetime) -> None:
    """Record the answer to a request."""
    async with parts.pool.acquire() as conn, conn.transaction():
        known = await erasures.report(conn, erasure, effect, now)
    if known:
        step("erasure.recorded")
