"""What a new version of a Consent changes: nothing, less, or more. Pure.

It guards that taking back and widening are never one step: less is a withdrawal of what is missing,
more needs a newer date. Storing is consent's, withdrawal too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from services.kit.ports.consent import ConsentRule

Part = tuple[str, str, tuple[str, ...]]
"""(organisation, purpose, categories)."""
End = Literal["withdrawn", "revoked", "invalidated"]
"""How the whole of a consent may be taken back."""
ENDS: Final = frozenset(get_args(End))


@dataclass(frozen=True, slots=True)
class Changes:
    """Permits that are missing in the new version, and whether anything was added."""

    removed: tuple[Part, ...]
    widened: bool
    other: bool
    """Something changed that is neither: a deny added or taken away, or a shorter period."""


def compare(old: Iterable[ConsentRule], new: Iterable[ConsentRule]) -> Changes:
    """What `new` changes about `old`."""
    before, after = _permits(old), _permits(new)
    removed = tuple(
        (org, purpose, gone)
        for (org, purpose), (categories, _) in sorted(before.items())
        if (gone := tuple(sorted(categories - _categories(after, org, purpose))))
    )
    added = any(
        categories - _categories(before, org, purpose)
        for (org, purpose), (categories, _) in after.items()
    )
    both = before.keys() & after.keys()
    longer = any(after[key][1] > before[key][1] for key in both)
    shorter = any(after[key][1] < before[key][1] for key in both)
    denied_before, denied_after = _denies(old), _denies(new)
    lifted = bool(denied_before - denied_after)
    return Changes(
        removed=removed,
        widened=added or longer or lifted,
        other=shorter or bool(denied_after - denied_before),
    )


_Permits = dict[tuple[str, str], tuple[frozenset[str], datetime]]


def _permits(rules: Iterable[ConsentRule]) -> _Permits:
    found: _Permits = {}
    for rule in rules:
        if rule.decision == "permit":
            key = (rule.to_org or "", rule.purpose or "")
            categories, end = found.get(key, (frozenset[str](), rule.valid_to))
            found[key] = (categories | set(rule.data_categories), max(end, rule.valid_to))
    return found


def _categories(permits: _Permits, org: str, purpose: str) -> frozenset[str]:
    return permits[org, purpose][0] if (org, purpose) in permits else frozenset()


def _denies(rules: Iterable[ConsentRule]) -> set[tuple[str | None, str | None, str]]:
    return {
        (rule.to_org, rule.to_kind, category)
        for rule in rules
        if rule.decision == "deny"
        for category in rule.data_categories
    }
