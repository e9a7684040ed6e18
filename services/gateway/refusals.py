"""Refusals that go together: what a submission, a consent or an answer may be refused for.

It guards that an operation tells of every row of the catalogue that its part can answer with: a
new row of a group is documented wherever the group is. Who refuses is left to each part.
"""

from typing import Final, Literal

from services.kit.errors import catalogue

Rows = tuple[tuple[str, str], ...]
Surface = Literal["fhir", "native"]

ANSWER: Final = (
    ("duplicate", "other-content"),
    ("illegal-transition", "from-state"),
    ("illegal-transition", "not-yours"),
    ("outcome-required", "output"),
    ("reason-required", "status-reason"),
    ("suppressed", "consent"),
    ("transient", "unavailable"),
)
"""What the state machine may say to a party's command."""
_CONSENT: Final = (
    "code-invalid",
    "consent-action",
    "consent-actor",
    "consent-assent",
    "consent-basis",
    "consent-category",
    "consent-codes",
    "consent-form",
    "consent-future",
    "consent-expired",
    "consent-giver",
    "consent-item-period",
    "consent-language",
    "consent-minor-giver",
    "consent-nesting",
    "consent-no-permit",
    "consent-notice",
    "consent-organization",
    "consent-patient",
    "consent-period",
    "consent-perpetrator",
    "consent-policy-rule",
    "consent-purpose",
    "consent-root",
    "consent-scope",
    "consent-status",
    "reference-invalid",
    "structure",
)
_SUBMISSION: Final = (
    *_CONSENT,
    "bundle-invalid",
    "consent-denied",
    "consent-narrative",
    "duplicate",
    "in-progress",
    "invariant",
    "not-permitted",
    "required",
    "unsupported",
    "use-packet",
)
_VALUES: Final = (
    "birth-date-future",
    "contradiction",
    "due-past",
    "fixed-value",
    "idempotency-key",
    "repeated",
)
_OF_EMERGENCIES: Final = frozenset(
    {"emergency-core-and-contact-only", "emergency-is-vital-interest"}
)


def of_codes(surface: Surface, *codes: str) -> Rows:
    """Every row of these codes that the surface has."""
    return tuple(
        key for key, row in catalogue().items() if key[0] in codes and _has(surface, row.surface)
    )


def of_rules(surface: Surface, code: str, *rules: str) -> Rows:
    """The rows of a code by these rules that the surface has."""
    return tuple(key for key in of_codes(surface, code) if key[1] in rules)


def _has(surface: Surface, marked: str) -> bool:
    return marked in (surface, "both")


def submission(surface: Surface) -> Rows:
    """What a referral may be refused for: its shape, the rules, the consent, the partners."""
    rows = of_codes(surface, *_SUBMISSION) + of_rules(surface, "value-invalid", *_VALUES)
    return (*rows, *of_rules(surface, "too-large", "entries"), ("transient", "unavailable"))


def renewal(surface: Surface) -> Rows:
    """What the next version of a consent may be refused for."""
    return (
        *(key for key in of_codes(surface, *_CONSENT) if key[1] not in _OF_EMERGENCIES),
        *of_rules(surface, "invariant", "period-order"),
        *of_rules(surface, "required", "element"),
        *of_rules(surface, "unsupported", "element", "extension", "text-status"),
        *of_rules(surface, "value-invalid", "repeated"),
        ("already-inactive", "consent"),
        ("consent-widening", "new-consent"),
        ("transient", "unavailable"),
    )
