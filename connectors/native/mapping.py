"""Native JSON to the identified types (pure): one document → one submission, or its faults.

Guards that every name is one of the types', every value of its JSON type, every instant with its
zone, and that no submitted name or value reaches a fault. The rules are the SDK's, as for every
format.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import NoneType
from typing import Any, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from connectors.sdk.amending import Changes, changes_of
from connectors.sdk.inbound import Context, Mapped
from connectors.sdk.report import Report
from connectors.sdk.rules import Moment, judge, judge_changes, judge_consent, tell
from connectors.sdk.times import instant
from connectors.sdk.types import Case, Consent, Model, Person, Submission, category_of

ENDS = frozenset({"valid_to", "response_due"})
"""Instants at which something ends: a date alone includes its day."""
JSON_TYPES = (str, bool, int)


@dataclass(frozen=True, slots=True)
class Reading:
    """The calendar and the report of one reading."""

    zone: ZoneInfo
    report: Report


Reader = Callable[[Any, str, Reading], Any]
"""(JSON value, its path, reading) → the value, or None and a fault."""


def warm_up() -> None:
    """Make the readers, so that the first referral is not slower than the others."""
    _readers(Submission)


def to_submission(document: Mapping[str, Any], context: Context) -> Mapped:
    """Map a document that `parse_strict` let through; raises `Faults` with every reason found."""
    report, zone = Report(), ZoneInfo(context.time_zone)
    read = _object(Submission, document, "", Reading(zone, report))
    submission = judge(Submission.model_validate(read), Moment(context.now, zone), report)
    report.check()
    tasks = submission.referral.task_identifiers
    return Mapped(submission, None, tasks[0] if tasks else None, (), ())


def to_consent(document: Mapping[str, Any], context: Context, *, again: bool = True) -> Consent:
    """A consent that stands alone, such as a renewal; raises `Faults`, fields as `consent.…`."""
    report, zone = Report(), ZoneInfo(context.time_zone)
    read = _object(Consent, document, "consent", Reading(zone, report))
    found = Report()
    moment = Moment(context.now, zone)
    given = judge_consent(Consent.model_validate(read), moment, found, minor=None, again=again)
    tell(found, report, str)
    report.check()
    return given


def to_changes(document: Mapping[str, Any], context: Context) -> Changes:
    """What `person`, `facts` and `remove` of a document put right; raises `Faults`."""
    report, zone = Report(), ZoneInfo(context.time_zone)
    reading = Reading(zone, report)
    person = Person.model_validate(_object(Person, document.get("person", {}), "person", reading))
    case = Case.model_validate(_object(Case, document.get("facts", {}), "facts", reading))
    today = Moment(context.now, zone).today
    changes = changes_of(judge_changes(person, case, today, report, _of_facts), case, ())
    removed = _removed(document.get("remove", []), changes, report)
    if not changes.fields() and not removed and not report.faults:
        report.add("required", "person", "element")
    for name in changes.case:
        if not _is_told(f"case.{name}"):
            report.add("unsupported", f"facts.{name}", "element")
    report.check()
    return replace(changes, removed=removed)


def _of_facts(field: str) -> str:
    return f"facts{field.removeprefix('case')}" if field.startswith("case") else field


def _is_told(field: str) -> bool:
    try:
        category_of(field)
    except KeyError:
        return False
    return True


def _removed(given: Any, changes: Changes, report: Report) -> tuple[str, ...]:
    """The fields to be left empty, by the names of a body."""
    if type(given) is not list:
        report.add("structure", "remove", "wrong-type")
        return ()
    found = []
    for place, one in enumerate(given):
        name = f"case{one.removeprefix('facts')}" if str(one).startswith("facts.") else one
        if type(one) is not str or one.startswith("case.") or not _is_told(name):
            report.add("code-invalid", f"remove[{place}]", "not-in-list")
        elif name in changes.fields():
            report.add("value-invalid", f"remove[{place}]", "contradiction")
        else:
            found.append(name)
    return tuple(sorted(set(found)))


def _object(model: type[Model], value: Any, path: str, reading: Reading) -> dict[str, Any]:
    """The known fields of one object; what is required and missing is blank, with a fault."""
    found: dict[str, Any] = dict(_blank(model))
    if type(value) is not dict:
        reading.report.add("structure", path, "wrong-type")
        return found
    readers = _readers(model)
    for name, given in value.items():
        reader = readers.get(name)
        if reader is None:
            reading.report.add("structure", path, "unknown-element")
            continue
        read = reader(given, f"{path}.{name}" if path else name, reading)
        if read is not None:
            found[name] = read
    for name in _blank(model):
        if name not in value:
            reading.report.add("required", f"{path}.{name}" if path else name, "element")
    return found


@cache
def _blank(model: type[Model]) -> Mapping[str, Any]:
    """What stands for a required field that could not be read."""
    fields = {n: f.annotation for n, f in model.model_fields.items() if f.is_required()}
    return {
        name: _blank(kind) if isinstance(kind, type) and issubclass(kind, Model) else ""
        for name, kind in fields.items()
    }


@cache
def _readers(model: type[Model]) -> Mapping[str, Reader]:
    return {
        name: _not_null(_reader(_kind(field.annotation), name))
        for name, field in model.model_fields.items()
    }


def _kind(annotation: Any) -> Any:
    """The type of a field without its None."""
    if get_origin(annotation) is Union or type(annotation).__name__ == "UnionType":
        (kind,) = (one for one in get_args(annotation) if one is not NoneType)
        return kind
    return annotation


def _reader(kind: Any, name: str) -> Reader:
    if get_origin(kind) is tuple:
        return _list(_not_null(_reader(get_args(kind)[0], name)), get_args(kind)[0])
    if kind is str:
        return _text
    if kind in JSON_TYPES:
        return _scalar(kind)
    if issubclass(kind, Model):
        return lambda value, path, reading: _object(kind, value, path, reading)
    return _instant(end=name in ENDS)


def _not_null(reader: Reader) -> Reader:
    def read(value: Any, path: str, reading: Reading) -> Any:
        if value is None:
            reading.report.add("structure", path, "null-value")
            return None
        return reader(value, path, reading)

    return read


def _text(value: Any, path: str, reading: Reading) -> str | None:
    if type(value) is not str:
        reading.report.add("structure", path, "wrong-type")
        return None
    if not value.strip():
        reading.report.add("structure", path, "empty-value")
        return None
    return value


def _scalar(kind: type) -> Reader:
    def read(value: Any, path: str, reading: Reading) -> Any:
        if type(value) is kind:
            return value
        reading.report.add("structure", path, "wrong-type")
        return None

    return read


def _instant(*, end: bool) -> Reader:
    def read(value: Any, path: str, reading: Reading) -> Any:
        text = _text(value, path, reading)
        return instant(text, reading.zone, path, reading.report, end=end)

    return read


def _list(reader: Reader, kind: Any) -> Reader:
    """Items keep their places: a fault names the place that the sender knows."""
    blank: Any = _blank(kind) if issubclass(kind, Model) else ""

    def read(value: Any, path: str, reading: Reading) -> Any:
        if type(value) is not list:
            reading.report.add("structure", path, "wrong-type")
            return None
        if not value:
            reading.report.add("structure", path, "empty-value")
            return None
        found = (reader(one, f"{path}[{place}]", reading) for place, one in enumerate(value))
        return tuple(blank if one is None else one for one in found)

    return read
