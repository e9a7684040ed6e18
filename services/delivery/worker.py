"""The worker: claims tasks with a free slot and a live vault, and takes each to its recipient.

It guards the order of one delivery: state, doubt resolved at the partner, authorise, release,
call, outcome, confirmation. Every stage is batched over the deliveries under way; no lock is held
while a partner is called, and a slow partner occupies its own slots only.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from connectors.fhir_r4.client import Call, FhirClient
from connectors.fhir_r4.outbound import bundle
from connectors.sdk.errors import ConnectorError, Refuse
from services.delivery import erasures, store
from services.delivery.announcing import Announcer
from services.delivery.authority import CHANGED, NOT_OURS, Authorised, Authority, Denied
from services.delivery.confirming import Confirmer
from services.delivery.domain import (
    Ask,
    Outcome,
    Task,
    after_failure,
    categories_for,
    categories_now,
    need_of,
    no_news,
    over,
    wait_after,
)
from services.delivery.intents import Standing
from services.delivery.links import Links
from services.delivery.outcomes import Recorder
from services.delivery.render import Frame, outgoing, transaction
from services.delivery.stages import Stages
from services.kit.aliases import alias
from services.kit.db import is_infrastructure_fault
from services.kit.logs import Log
from services.kit.metrics import Metrics
from services.kit.partners import Partner, Partners
from services.kit.ports.referral import Referral, ReferralState
from services.kit.ports.vault import ReleaseResult, Vault
from services.kit.steps import step

IDLE_SECONDS: Final = 0.25
VAULT_SECONDS: Final = 1.0
VAULT_PATIENCE: Final = 0.5
"""How long a frozen vault may keep a request to erase from being claimed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What a worker works with."""

    pool: asyncpg.Pool
    partners: Partners
    authority: Authority
    recorder: Recorder
    confirmer: Confirmer
    links: Links
    vault: Vault
    referral: Referral
    frame: Frame
    clock: Callable[[], datetime]
    metrics: Metrics
    log: Log
    cell: str
    window_ms: float
    concurrency: int
    partner_concurrency: int


class Worker:
    """Runs deliveries until cancelled."""

    def __init__(self, parts: Parts, stages: Stages | None = None) -> None:
        self._parts = parts
        self._wake = asyncio.Event()
        self._running: dict[asyncio.Task[None], str] = {}
        self._vault_seen = 0.0
        self._vault_away = False
        self._announcer = Announcer(parts, time.monotonic)
        self._stages = stages or Stages(parts)

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    async def run(self) -> None:
        """Claim and deliver."""
        try:
            while True:
                self._wake.clear()
                if not await self.turn():
                    await self._idle()
                await asyncio.sleep(self._parts.window_ms / 1000)  # so that claims come in lots
        finally:
            for running in self._running:
                running.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def turn(self) -> int:
        """Claim what can be begun now; answers how many tasks were begun.

        Requests to erase need neither room nor vault.
        """
        contents = sum(kind != "erasure" for kind in self._running.values())
        room = self._parts.concurrency - contents if await self._vault_lives() else 0
        tasks = await store.claim(self._parts.pool, await self._slots(), min(room, 64))
        if tasks:
            step("delivery.claimed")
        for task in tasks:
            running = asyncio.create_task(self._guarded(task))
            self._running[running] = task.kind
            running.add_done_callback(self._ended)
        return len(tasks)

    def _ended(self, running: asyncio.Task[None]) -> None:
        self._running.pop(running, None)
        self._wake.set()

    async def _idle(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), IDLE_SECONDS)
        except TimeoutError:
            return

    async def _vault_lives(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._vault_seen <= VAULT_SECONDS:
            return True
        try:
            async with asyncio.timeout(VAULT_PATIENCE):
                await self._parts.vault.grants([])
        except Exception as error:
            if not is_infrastructure_fault(error):
                raise
            if not self._vault_away:
                self._parts.log.warning("vault-away", error)
            self._vault_away = True
            return False
        self._vault_seen, self._vault_away = now, False
        return True

    async def _slots(self) -> dict[str, int]:
        cap = self._parts.partner_concurrency
        known = await self._parts.partners.all()
        return {
            org: min(partner.concurrency or cap, cap)
            for org, partner in known.items()
            if _is_called(partner)
        }

    async def _guarded(self, task: Task) -> None:
        try:
            await (self._erase(task) if task.kind == "erasure" else self._deliver(task))
        except Exception as error:  # noqa: BLE001 -- the lease ends and the sweep takes over
            self._parts.log.warning("delivery-broken", error, delivery_ref=task.task_id)

    async def _deliver(self, task: Task) -> None:
        state = await self._stages.state(task.referral_ref)
        partner = await self._parts.partners.get(task.to_org)
        if state is None or partner is None or over(task, state):
            await self._stages.record(
                Outcome(result="suppressed", rule="referral-closed", task=task)
            )
            return
        if partner.transport == "webhook":
            await self._announce(task, state, partner)
            return
        try:
            client = self._parts.links.client(partner)
            await client.prepare()
            if task.doubtful and await self._found(client, task):
                await self._done(Outcome(result="disclosed", rule="found-at-partner", task=task))
                return
        except ConnectorError as error:
            await self._failed(after_failure(task, error, None))
            return
        await self._send(task, state, partner, client)

    async def _found(self, client: FhirClient, task: Task) -> bool:
        if task.kind != "content" or task.again:
            return False
        own = alias(self._parts.frame.alias_key, "task", task.referral_ref, task.to_org)
        criteria = bundle.task_criteria(self._parts.frame.base, own)
        return await client.find_task(criteria) is not None

    async def _send(
        self, task: Task, state: ReferralState, partner: Partner, client: FhirClient
    ) -> None:
        need = need_of(state, partner.org_type)
        if need is None:
            rule = "facts-gone" if state.service_type is None else "service-type-not-referred"
            await self._stages.record(_suppressed(task, Denied(rule=rule)))
            return
        if no_news(task, state, need):
            await self._stages.record(Outcome(result="no_news", rule="no-news", task=task))
            return
        standing = await self._stages.standing((task.case_ref, task.to_org))
        held = standing.get(task.referral_ref, frozenset())
        asked = _ask(task, state, categories_for(task, state, need, held))
        granted = await self._stages.authorise(asked)
        if isinstance(granted, Denied):
            await self._denied(task, granted)
            return
        released = await self._stages.release(granted.signed)
        step("delivery.released")
        if released.content is None:
            rule, ref = released.rule, granted.grant.grant_ref
            wait = wait_after(task.attempts)
            await self._failed(
                Outcome(result="not_sent", rule=rule, task=task, grant_ref=ref, wait=wait)
            )
            return
        await self._call(task, state, granted, released, standing, client)

    async def _call(
        self,
        task: Task,
        state: ReferralState,
        granted: Authorised,
        released: ReleaseResult,
        standing: Standing,
        client: FhirClient,
    ) -> None:
        grant = granted.grant
        begun = asyncio.get_running_loop().time()
        try:
            source = await self._source(state)
            out = outgoing(self._parts.frame, state, granted, released, source, self._parts.clock())
            body = transaction(out, task, standing)
            call = Call(
                key=task.task_id,
                deadline=granted.until,
                not_after=grant.deadline,
                on_write=_calling,
            )
            await client.push(body, call)
        except ConnectorError as error:
            await self._failed(after_failure(task, error, grant.grant_ref))
            return
        step("delivery.called")
        taken = asyncio.get_running_loop().time() - begun
        self._parts.metrics.observe("cauce_delivery_seconds", taken)
        await self._done(
            Outcome(result="disclosed", rule="taken", task=task, grant_ref=grant.grant_ref)
        )

    async def _announce(self, task: Task, state: ReferralState, partner: Partner) -> None:
        """Tell that there is something; what, is decided when the partner reads it."""
        need = need_of(state, partner.org_type)
        if need is None:
            rule = "facts-gone" if state.service_type is None else "service-type-not-referred"
            await self._stages.record(_suppressed(task, Denied(rule=rule)))
            return
        if task.kind == "update":  # the partner hears of the change itself, as of any other
            await self._stages.record(Outcome(result="no_news", rule="no-news", task=task))
            return
        ask = replace(_ask(task, state, categories_now(state, need)), announced=True)
        granted = await self._stages.authorise(ask)
        if isinstance(granted, Denied):
            await self._denied(task, granted)
            return
        ref, note = granted.grant.grant_ref, self._announcer.sent(task.task_id, state)
        try:
            await self._announcer.tell(partner, note, deadline=granted.until, on_write=_calling)
        except ConnectorError as error:
            await self._failed(after_failure(task, error, ref))
            return
        step("delivery.called")
        step("announcement.sent")
        await self._done(Outcome(result="disclosed", rule="taken", task=task, grant_ref=ref))

    async def _source(self, state: ReferralState) -> Partner:
        found = await self._parts.partners.get(state.from_org)
        if found is None:
            raise Refuse("source-unknown", "Task.requester")
        return found

    async def _done(self, outcome: Outcome) -> None:
        task = outcome.task
        if await self._stages.record(outcome) and task is not None and task.kind == "content":
            await self._stages.confirm((task, "done", outcome.rule))

    async def _failed(self, outcome: Outcome) -> None:
        await self._stages.record(outcome)

    async def _denied(self, task: Task, denied: Denied) -> None:
        if denied.rule == NOT_OURS:
            return
        if denied.rule == CHANGED:
            again = Outcome(result="not_sent", rule=CHANGED, task=task, wait=timedelta())
            await self._stages.record(again)
            return
        await self._stages.record(_suppressed(task, denied))

    async def _erase(self, task: Task) -> None:
        parts = self._parts
        partner = await parts.partners.get(task.to_org)
        erasure = await erasures.of_task(parts.pool, task)
        if erasure is None:
            await self._stages.record(Outcome(result="disclosed", rule="superseded", task=task))
            return
        try:
            if partner is None:
                raise Refuse("recipient-unknown", "Task.owner")
            answer = await self._request_erasure(partner, erasure)
        except ConnectorError as error:
            failed = after_failure(task, error, None)
            await self._stages.record(failed)
            return
        step("erasure.sent")
        await erasures.sent(parts.pool, erasure.erasure_ref)
        effect = bundle.erasure_effect(answer)
        if effect is not None:
            async with parts.pool.acquire() as conn, conn.transaction():
                await erasures.report(conn, erasure, effect, parts.clock())
            step("erasure.recorded")
        await self._stages.record(Outcome(result="disclosed", rule="requested", task=task))

    async def _request_erasure(
        self, partner: Partner, erasure: erasures.Erasure
    ) -> dict[str, object]:
        if partner.transport == "webhook":
            await self._announcer.tell(partner, self._announcer.erasure(erasure))
            return {}
        frame, client = self._parts.frame, self._parts.links.client(partner)
        ref = erasure.task_id  # of this round, so that a repeat is not taken for the first
        body = bundle.erasure(
            base=frame.base,
            to_org=erasure.to_org,
            erasure_ref=ref,
            task_id=alias(frame.alias_key, "task", erasure.referral_ref, erasure.to_org),
            categories=erasure.data_categories,
        )
        criteria = bundle.erasure_criteria(frame.base, ref)
        return await client.request_erasure(body, criteria, Call(key=ref))


def _is_called(partner: Partner) -> bool:
    """Whether the hub calls this partner, and does not wait for its reads."""
    reachable = {"push": partner.connector, "webhook": partner.webhook}
    return reachable.get(partner.transport) is not None


def _calling() -> None:
    step("delivery.calling")


def _suppressed(task: Task, denied: Denied) -> Outcome:
    return Outcome(
        result="suppressed", rule=denied.rule, task=task, policy_version=denied.policy_version
    )


def _ask(task: Task, state: ReferralState, categories: tuple[str, ...]) -> Ask:
    return Ask(
        case_ref=state.case_ref,
        referral_ref=state.referral_ref,
        to_org=state.to_org,
        purpose=state.purpose,
        source_org=state.from_org,
        confidentiality=task.confidentiality,
        categories=categories,
        vault_version=state.vault_version,
        task=task,
    )
