"""What goes wrong at a partner, grouped by what happens next.

    ConnectorError
    ├── Retry    the partner or the network failed; try again with back-off (`unknown` says
    │            whether a byte of the request may have reached the partner)
    ├── Reject   the partner refused the message for good; held until mended
    └── Refuse   we refuse to send (no mapping for a code, address not allowed); held until mended

None of them carries a submitted value: `rule` and `field_path` name what failed.
"""


class ConnectorError(Exception):
    """Base: a stable rule name and the path of the field, never a value."""

    def __init__(self, rule: str, field_path: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.field_path = field_path


class Retry(ConnectorError):
    """Try again later. `unknown` is true when the partner may have received the request."""

    def __init__(self, rule: str, *, unknown: bool, retry_after: float | None = None) -> None:
        super().__init__(rule)
        self.unknown = unknown
        self.retry_after = retry_after


class Reject(ConnectorError):
    """The partner answered that it will not take this message."""


class Refuse(ConnectorError):
    """We do not send: the mapping or the egress rules forbid it."""
