"""Calls a partner's webhook: the connector's only I/O.

It guards that a message goes to the address of the partner's record, signed, and that an answer
says what happens next: any 2xx is taken, 410 means stop, all else is tried again. Whether a message
may go at all, and when, is the caller's to decide.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from connectors.sdk.errors import Reject, Retry
from connectors.sdk.http import Answer, Http
from connectors.webhook.mapping import CONTENT_TYPE, Note, to_event
from connectors.webhook.signing import Signer, signed_headers

GONE: Final = "webhook-gone"
"""The partner said that its endpoint is no more (410)."""


class WebhookClient:
    """The hub as a sender of webhooks."""

    def __init__(self, http: Http, source: str) -> None:
        self._http = http
        self._source = source

    async def send(
        self,
        url: str,
        note: Note,
        signers: list[Signer],
        now: datetime,
        *,
        deadline: float | None = None,
        on_write: Callable[[], None] | None = None,
    ) -> None:
        """Send one message; Retry, Reject (`webhook-gone`) or Refuse when it was not taken.

        `deadline` is in seconds of `time.monotonic`: nothing is written from then on.
        """
        body = to_event(note, self._source)
        headers = {
            "Content-Type": CONTENT_TYPE,
            **signed_headers(signers, str(note.mark), now, body),
        }
        answer = await self._http.send(
            "POST", url, headers=headers, body=body, deadline=deadline, on_write=on_write
        )
        _check(answer)


def _check(answer: Answer) -> None:
    status = answer.status
    if status == 410:
        raise Reject(GONE)
    if not 200 <= status < 300:
        raise Retry(f"partner-{status}", unknown=True, retry_after=_seconds(answer))


def _seconds(answer: Answer) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() and len(text) < 5 else None
