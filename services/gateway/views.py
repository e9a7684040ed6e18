"""Finds what an id means to a caller and makes the frame of its view, for every surface.

It guards that a party finds its own referrals alone. Rendering is each surface's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from services.gateway.fhir import render, store
from services.gateway.http import Call
from services.kit.batcher import Batcher
from services.kit.errors import Language, Refused, language
from services.kit.partners import Partners
from services.kit.ports.referral import Referral, ReferralState


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """Secrets of this part."""

    alias: bytes
    index: bytes
    cursor: bytes


class Views:
    """Finds what an id means to a caller and makes the frame of its view."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        partners: Partners,
        referral: Referral,
        keys: Keys,
        frame: render.Frame,
        window_ms: float,
    ) -> None:
        self.pool = pool
        self.keys = keys
        self._partners = partners
        self._referral = referral
        self._frame = frame
        self._targets: Batcher[store.Name, store.Target | None] = Batcher(self._find, 0)
        self._learnt: Batcher[store.Known, None] = Batcher(self._learn, window_ms)

    async def _find(self, names: Sequence[store.Name]) -> list[store.Target | None]:
        async with self.pool.acquire() as conn:
            return await store.find(conn, names)

    async def target(self, call: Call, kind: str) -> store.Target:
        """What the id in the path is to the caller; 404 when it is nothing to it."""
        return await self.named(call.org, kind, call.request.path_params["id"])

    async def named(self, org: str, kind: str, name: str) -> store.Target:
        """What an id is to an organisation; 404 when it is nothing to it."""
        try:
            alias = UUID(name)
        except ValueError:
            raise Refused.of("not-found", "resource") from None
        found = await self._targets((org, kind, alias))
        if found is None:
            raise Refused.of("not-found", "resource")
        return found

    async def learn(self, org: str, patient: UUID, referral_ref: UUID) -> None:
        """The recipient now knows the person of a referral by this id: it may ask for it."""
        await self._learnt((org, patient, referral_ref))

    async def _learn(self, learnt: Sequence[store.Known]) -> list[None]:
        async with self.pool.acquire() as conn:
            await store.learn_patients(conn, learnt)
        return [None for _ in learnt]

    async def frame(self) -> render.Frame:
        """The frame with the registry of now."""
        known = await self._partners.all()
        return render.Frame(
            base=self._frame.base,
            zone=self._frame.zone,
            alias_key=self._frame.alias_key,
            partner=known.get,
        )

    async def names(self) -> frozenset[str]:
        """What an organisation may be called: a link repeats no other text."""
        known = (await self._partners.all()).values()
        return frozenset(name for one in known for name in (one.org, one.alias))

    async def view(self, call: Call, target: store.Target) -> render.View:
        """The caller's view of a referral as it stands; accepted a moment ago, it reads as sent."""
        state = (await self._referral.read([target.referral_ref]))[0]
        if state is None and call.org != target.from_org:
            raise Refused.of("not-found", "resource")
        return render.View(
            frame=await self.frame(),
            org=call.org,
            state=state or _accepted(target),
            subject_ref=target.subject_ref,
        )


def _accepted(target: store.Target) -> ReferralState:
    """A referral whose events are still on their way to the state machine: version 0."""
    return ReferralState(
        referral_ref=target.referral_ref,
        case_ref=target.case_ref,
        from_org=target.from_org,
        to_org=target.to_org,
        status="sent",
        version=0,
        purpose="",
        service_type=None,
        priority=None,
        special_requirements=(),
        data_categories=(),
        consent_ref=target.consent_ref,
        vault_version=0,
        directory_entry=None,
        response_due=None,
        reason_code=None,
        outcome=None,
        appointment_outcome=None,
        created_at=target.accepted_at,
        updated_at=target.accepted_at,
    )


def lang_of(call: Call) -> Language:
    """The reader's language."""
    return language(call.request.headers.get("accept-language"))
