"""Wiring of partners' signed messages: operations and routes."""

from typing import Final

from starlette.routing import Route

from services.gateway.hooks.api import Hooks
from services.gateway.hooks.models import HookKeysView, Message, Taken
from services.gateway.http import Surface
from services.gateway.operation import BODY_FAULTS, NOT_FOUND, Operation, Parameter
from services.gateway.refusals import ANSWER

_SIGNED: Final = (
    Parameter("webhook-id", "Id of the message; each counts once", required=True),
    Parameter("webhook-timestamp", "Seconds since 1970 at which it was signed", required=True),
    Parameter(
        "webhook-signature",
        "Standard Webhooks: `v1,…` (HMAC) or `v1a,…` (Ed25519), space between several",
        required=True,
    ),
)
TAKE: Final = Operation(
    method="POST",
    path="/hooks/{org}",
    summary="A signed message of a partner (Standard Webhooks): a command, or what was erased",
    tag="webhooks",
    headers=_SIGNED,
    request=Message,
    response=Taken,
    refusals=(
        *BODY_FAULTS,
        *ANSWER,
        NOT_FOUND,
        ("login", "webhook-headers"),
        ("login", "webhook-signature"),
        ("login", "webhook-timestamp"),
        ("conflict", "webhook-repeated"),
        ("conflict", "other-effect"),
        ("conflict", "version"),
        ("throttled", "rate"),
    ),
    for_anyone=True,
)
KEYS: Final = Operation(
    method="GET",
    path="/v1/webhook-keys",
    summary="The hub's public keys by which its webhooks are known (`whpk_…`), the newest first",
    tag="webhooks",
    response=HookKeysView,
)


def routes(surface: Surface, hooks: Hooks) -> list[Route]:
    """The routes of this part."""
    return [surface.open_route(TAKE, hooks.take), surface.route(KEYS, hooks.show_keys)]
