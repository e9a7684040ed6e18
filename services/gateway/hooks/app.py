"""Wiring of partners' signed messages: operations and routes."""

from typing import Final

from starlette.routing import Route

from services.gateway.hooks.api import Hooks
from services.gateway.hooks.models import HookKeysView, Message, Taken
from services.gateway.http import Surface
from services.gateway.operation import Operation

TAKE: Final = Operation(
    method="POST",
    path="/hooks/{org}",
    summary="A signed message of a partner (Standard Webhooks): a command, or what was erased",
    tag="webhooks",
    request=Message,
    response=Taken,
    refusals=(
        ("login", "webhook-headers"),
        ("login", "webhook-signature"),
        ("login", "webhook-timestamp"),
        ("conflict", "webhook-repeated"),
        ("conflict", "other-effect"),
        ("conflict", "version"),
        ("not-found", "resource"),
        ("code-invalid", "not-in-list"),
        ("required", "element"),
        ("structure", "null-value"),
        ("structure", "unknown-element"),
        ("structure", "wrong-type"),
        ("illegal-transition", "from-state"),
        ("illegal-transition", "not-yours"),
        ("outcome-required", "output"),
        ("reason-required", "status-reason"),
        ("suppressed", "consent"),
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
