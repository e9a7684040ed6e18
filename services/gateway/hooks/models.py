"""What a partner posts to its hook, and the answer: models for the document, and their members."""

from typing import Any, Final, Literal
from uuid import UUID

from pydantic import AwareDatetime

from services.gateway.bodies import Shape
from services.gateway.native.models import CommandBody, EffectBody

COMMAND: Final = "cauce.referral.command"
EFFECT: Final = "cauce.erasure.effect"


class CommandData(CommandBody):
    """A command; without `expected_version` it counts whatever the referral has become."""

    referral: UUID
    expected_version: int | None = None  # type: ignore[assignment] # a hint may not know it


class EffectData(EffectBody):
    """What was done about a request to erase."""

    request: UUID


class Message(Shape):
    """A CloudEvent in structured JSON; `id` is best the `webhook-id`."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: Literal["cauce.referral.command", "cauce.erasure.effect"]
    subject: str | None = None
    time: AwareDatetime | None = None
    datacontenttype: str | None = None
    data: CommandData | EffectData


class Taken(Shape):
    """Where what the message was about stands now."""

    id: UUID
    status: str
    version: int | None = None


class HookKeysView(Shape):
    """The hub's public keys for webhooks, the newest first."""

    keys: tuple[str, ...]


MEMBERS: Final[dict[str, Any]] = {COMMAND: CommandData, EFFECT: EffectData}
"""Model of `data` by type."""
