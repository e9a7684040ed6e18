"""A record after some of its fields were put right: what stands, what changed. Pure.

Guards that nothing but the named fields changes, that what follows from a birth date follows from
the new one, and that the result breaks no rule between fields. Codes and formats of what is new
were judged where it came in (`rules.judge_changes`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from connectors.sdk.report import Report
from connectors.sdk.rules import judge_person
from connectors.sdk.types import Case, Model, Person, Release, category_of

AGE: Final = ("birth_date", "age_band", "is_minor")


@dataclass(frozen=True, slots=True)
class Changes:
    """New values by field of `person` and of `case`; `removed` are fields as `part.field`."""

    person: Mapping[str, Any] = field(default_factory=dict, repr=False)
    case: Mapping[str, Any] = field(default_factory=dict, repr=False)
    removed: tuple[str, ...] = ()

    def fields(self) -> tuple[str, ...]:
        """Every field that is named, sorted."""
        given = [f"person.{name}" for name in self.person] + [f"case.{name}" for name in self.case]
        return tuple(sorted({*given, *self.removed}))


def changes_of(person: Person, case: Case, removed: Iterable[str]) -> Changes:
    """What was given, as JSON values; what was not given is not among it."""
    return Changes(
        person.model_dump(mode="json", exclude_unset=True),
        case.model_dump(mode="json", exclude_unset=True),
        tuple(sorted(removed)),
    )


def categories(fields: Iterable[str]) -> tuple[str, ...]:
    """The data categories of fields as `part.field`, sorted."""
    return tuple(sorted({category_of(one) for one in fields}))


def amended(old: Release, changes: Changes, today: date, report: Report) -> Release:
    """What is known with the changes; a rule that they break is in the report."""
    person = _over(old.person, changes.person, _of("person", changes.removed))
    touched = {name for name in AGE if f"person.{name}" in changes.fields()}
    if touched:
        person = judge_person(_reckoned(person, touched, changes), today, report)
    return Release(person=person, case=_over(old.case, changes.case, _of("case", changes.removed)))


def differences(old: Release, new: Release) -> tuple[str, ...]:
    """Fields that are not the same, sorted."""
    return tuple(
        sorted(
            f"{part}.{name}"
            for part in ("person", "case")
            for name in type(getattr(old, part)).model_fields
            if getattr(getattr(old, part), name) != getattr(getattr(new, part), name)
        )
    )


def _of(part: str, removed: Iterable[str]) -> frozenset[str]:
    return frozenset(one.removeprefix(f"{part}.") for one in removed if one.startswith(f"{part}."))


def _over(old: Any, given: Mapping[str, Any], removed: frozenset[str]) -> Any:
    kind: type[Model] = type(old)
    kept = old.model_dump(mode="json", exclude_defaults=True)
    whole = {name: value for name, value in {**kept, **given}.items() if name not in removed}
    return kind.model_validate(whole)


def _reckoned(person: Person, touched: set[str], changes: Changes) -> Person:
    """Without what was reckoned from what is no longer so."""
    stale = {"age_band", "is_minor"} if "birth_date" in touched else {"is_minor"}
    gone = {name: None for name in stale if name not in changes.person}
    return person.model_copy(update=gone)
