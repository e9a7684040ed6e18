"""`POST /v1/referrals/{id}/commands`: what a party commands, one command a request.

It guards that a command is one that a party may ever give, that its codes are of their lists and
that it was given on the version the caller saw. Whether it is legal is the state machine's.
"""

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from connectors.sdk.steps import Step
from services.gateway.answers import Answers, Once
from services.gateway.http import Call
from services.gateway.intake.keys import Keys, content_digest, header_key
from services.gateway.native import reading
from services.gateway.native.models import CommandBody
from services.gateway.native.referrals import Referrals
from services.gateway.views import Views
from services.kit.errors import Refused

COMMANDS: Final = frozenset(
    {
        "accept",
        "appointment_missed",
        "cancel",
        "close_without_service",
        "complete",
        "confirm_cancel",
        "give_up",
        "mark_error",
        "pause",
        "refuse_cancel",
        "reject",
        "request_cancel",
        "request_information",
        "reschedule",
        "resend",
        "resubmit",
        "resume",
        "schedule",
        "start_review",
        "start_service",
    }
)
"""Every command of a party on what has been sent."""
MISSED: Final = "appointment_missed"
APPOINTMENT: Final = "appointment_outcome"


class Commands:
    """Handler of commands."""

    def __init__(self, views: Views, answers: Answers, referrals: Referrals, keys: Keys) -> None:
        self._keys = keys
        self._views = views
        self._answers = answers
        self._referrals = referrals

    async def give(self, call: Call) -> Response:
        """`POST /v1/referrals/{id}/commands`; answers the referral after it."""
        target = await self._views.target(call, "task")
        document = await reading.members(call, CommandBody.model_fields)
        step, expected = step_of(document), reading.number(document, "expected_version")
        view = await self._views.view(call, target)
        if view.state.version == 0:
            raise Refused.of("transient", "unavailable", retry_after=1)
        try:
            await self._answers.give(
                org=call.org,
                role="sender" if view.is_source else "recipient",
                state=view.state,
                steps=[step],
                once=self._once(call, document),
                expected=expected,
            )
        except Refused as error:
            if [(one.code, one.rule) for one in error.faults] == [("conflict", "version")]:
                raise Refused.of("conflict", "expected-version") from None
            raise
        return await self._referrals.answer(call, target)

    def _once(self, call: Call, document: Mapping[str, Any]) -> Once | None:
        key = header_key(call.request.headers.get("idempotency-key"))
        if key is None:
            return None
        return Once(f"native {key}", content_digest(self._keys, call.org, document))


def step_of(document: Mapping[str, Any]) -> Step:
    """The command in a document, with the codes that go with it."""
    command = reading.text(document, "command")
    if command not in COMMANDS:
        raise Refused.of("code-invalid", "not-in-list", "command")
    reason = reading.code(document, "reason_code", "referral_reason_code")
    outcome = reading.code(document, "outcome", "referral_outcome")
    appointment = reading.code(document, APPOINTMENT, "appointment_outcome")
    if command == MISSED and appointment is None:
        raise Refused.of("required", "element", APPOINTMENT)
    if command == MISSED and appointment not in ("no_show", "cancelled"):
        raise Refused.of("code-invalid", "not-in-list", APPOINTMENT)
    return Step(command, reason, outcome, appointment)
