"""The rules of the schemas: what a field may be and how a schema may grow.

Guards promise 3 at its root (no field that can carry text; facts only sealed) and that every
reader of every released version reads every other. Avro's own compatibility comes from the `avro`
package; what it does not see (logical types, classes, code lists) is here.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any, Final

import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from schemas.avsc import Released, Schema, event_type_of, is_event, nested_records, subject_of
from schemas.check import FORMATS
from schemas.codes import code_lists
from schemas.topics import retention_ms

SERVICES: Final = frozenset({"consent", "delivery", "gateway", "referral", "vault"})
"""Services that may own or consume an event; the issue that adds a service adds its name."""

_HEAD: Final = (
    "case_seq", "event_id", "occurred_at", "case_ref", "source_org", "correlation_id",
    "causation_id", "codelist_version", "confidentiality", "purpose",
)  # fmt: skip
_SEALED: Final = ("facts", "stats_facts")
_KINDS: Final = frozenset(
    {"null", "boolean", "int", "long", "string", "bytes", "enum", "array", "record"}
)


def faults(sources: Mapping[str, Schema], released: Mapping[str, Sequence[Released]]) -> list[str]:
    """Every broken rule as `file: field: rule`; empty when all is well."""
    found: list[str] = []
    for stem, schema in sources.items():
        rules = chain(naming(stem, schema), fields(schema), growth(schema, released))
        if is_event(schema):
            rules = chain(rules, attributes(schema), head(schema), sealing(schema, sources))
        found += [f"{stem}: {rule}" for rule in rules]
    return (
        found
        + list(topics_agree(sources))
        + list(facts_used(sources))
        + list(nothing_lost(sources, released))
    )


def naming(stem: str, schema: Schema) -> Iterator[str]:
    """File, record and namespace say the same name."""
    family = stem.split("_", maxsplit=1)[0]
    if schema["name"] != "".join(p.capitalize() for p in stem.split("_")):
        yield "name: differs from the file"
    if schema["namespace"] != f"cauce.{family}.v1":
        yield "namespace: not that of the family"
    if not is_event(schema) and "facts_of" not in schema:
        yield "topic: neither an event nor facts of one"


def attributes(schema: Schema) -> Iterator[str]:
    """An event says its topic, key, owner, consumers, retention, gate and partitions."""
    for name in (
        "topic",
        "key",
        "owner",
        "consumers",
        "retention",
        "gate",
        "partitions",
        "cleanup",
    ):
        if name not in schema:
            yield f"{name}: missing"
    if schema.get("gate") not in ("consent", "exempt"):
        yield "gate: neither consent nor exempt"
    if schema.get("key") not in [f["name"] for f in schema["fields"]]:
        yield "key: not a field"
    if not schema.get("owner"):
        yield "owner: nobody"
    for name in ("owner", "consumers"):
        who = schema.get(name, [])
        if who != sorted(set(who)) or not SERVICES.issuperset(who):
            yield f"{name}: not a sorted list of services"
    try:
        retention_ms(schema.get("retention", ""))
    except ValueError:
        yield "retention: not a number of days"


def head(schema: Schema) -> Iterator[str]:
    """The position comes first; events of a case begin with the whole head."""
    names = tuple(f["name"] for f in schema["fields"])
    if schema.get("key") == "case_ref":
        if names[: len(_HEAD)] != _HEAD:
            yield "fields: the head is not complete and in order"
    elif names[:2] != ("key_seq", "event_id"):
        yield "fields: key_seq and event_id are not first"
    if schema["fields"][0]["type"] != "long":
        yield "fields: the position is not a long"


def sealing(schema: Schema, sources: Mapping[str, Schema]) -> Iterator[str]:
    """Gated events end with the two sealed unions; exempt events have none."""
    names = tuple(f["name"] for f in schema["fields"])
    if schema.get("gate") == "consent" and names[-2:] != _SEALED:
        yield "facts: not the last two fields of a gated event"
    if schema.get("gate") == "exempt" and set(names) & set(_SEALED):
        yield "facts: on an exempt event"
    records = {subject_of(s) for s in sources.values() if not is_event(s)}
    for spec in schema["fields"]:
        if "seals" in spec and spec["seals"] not in records:
            yield f"{spec['name']}: seals an unknown record"


def fields(schema: Schema) -> Iterator[str]:
    """Every field has doc, class and a type that can hold no text."""
    for record in nested_records(schema):
        if not record.get("doc"):
            yield f"{record['name']}: doc missing"
        for spec in record["fields"]:
            for rule in chain(_field(spec, event=is_event(schema)), _kind(spec["type"])):
                yield f"{spec['name']}: {rule}"


def _field(spec: Mapping[str, Any], *, event: bool) -> Iterator[str]:
    if not spec.get("doc"):
        yield "doc missing"
    sealed = spec["type"] == ["null", "bytes"] and spec["name"] in _SEALED
    wanted = "coded" if not event else "sealed" if sealed else "routing"
    if spec.get("class") != wanted:
        yield f"class is not {wanted}"
    if "bytes" in json.dumps(spec["type"]) and not sealed:
        yield "bytes outside the sealed facts"
    if isinstance(spec["type"], list) and ("default" not in spec or spec["default"] is not None):
        yield "a nullable field without default null"


def _kind(kind: Any) -> Iterator[str]:
    if isinstance(kind, list):
        if len(kind) != 2 or kind[0] != "null":
            yield "a union other than [null, type]"
        yield from chain.from_iterable(_kind(k) for k in kind[1:])
        return
    spec = {"type": kind} if isinstance(kind, str) else kind
    if spec["type"] not in _KINDS:
        yield "a type that events do not use"
    if spec["type"] == "string":
        yield from _string(spec)
    if spec["type"] == "enum":
        yield from _enum(spec)
    if spec["type"] == "array":
        yield from _kind(spec["items"])


def _string(spec: Mapping[str, Any]) -> Iterator[str]:
    if spec.get("logicalType") == "uuid":
        return
    known = spec.get("codes") in code_lists() or spec.get("format") in FORMATS
    if not known or ("codes" in spec) == ("format" in spec):
        yield "a string without code list or format"


def _enum(spec: Mapping[str, Any]) -> Iterator[str]:
    found = code_lists().get(spec.get("codes", ""))
    if spec.get("default") != "unknown":
        yield "an enum without default unknown"
    if found is None or not found.closed or list(found.by_code) != spec["symbols"]:
        yield "an enum that is not its closed code list"


def growth(schema: Schema, released: Mapping[str, Sequence[Released]]) -> Iterator[str]:
    """Readable both ways against every released version, nothing reinterpreted."""
    for old in released.get(subject_of(schema), ()):
        for reader, writer in ((schema, old.schema), (old.schema, schema)):
            checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
            result = checker.get_compatibility(_avro(reader), _avro(writer))
            if result.compatibility is not SchemaCompatibilityType.compatible:
                yield f"v{old.version}: not compatible by Avro"
        before, after = _meanings(old.schema), _meanings(schema)
        for path in before.keys() & after.keys():
            if before[path] != after[path]:
                yield f"{path[-1]}: another meaning than in v{old.version}"
        known = {f["name"] for f in old.schema["fields"]}
        for spec in schema["fields"]:
            if spec["name"] not in known and "default" not in spec:
                yield f"{spec['name']}: new since v{old.version} and without default"
        if schema.get("gate") != old.schema.get("gate") or schema.get("key") != old.schema.get(
            "key"
        ):
            yield f"gate, key: differ from v{old.version}"


def _avro(schema: Schema) -> avro.schema.Schema:
    return avro.schema.parse(json.dumps(schema))


def _meanings(schema: Schema) -> dict[tuple[str, ...], list[Any]]:
    """What a field's bytes mean beyond their Avro type, by record and field name."""
    return {
        (record["name"], spec["name"]): [
            spec.get("class"),
            spec.get("seals"),
            re.findall(r'"(logicalType|codes|format)": "([^"]*)"', json.dumps(_flat(spec["type"]))),
        ]
        for record in nested_records(schema)
        for spec in record["fields"]
    }


def _flat(kind: Any) -> Any:
    """The type without the fields of an inner record, which are judged by themselves."""
    if isinstance(kind, list):
        return [_flat(k) for k in kind]
    if isinstance(kind, dict):
        return {k: _flat(v) for k, v in kind.items() if k != "fields"}
    return kind


def topics_agree(sources: Mapping[str, Schema]) -> Iterator[str]:
    """Events of one topic agree on key, partitions, clean-up and retention."""
    seen: dict[str, list[Any]] = {}
    for stem, s in sources.items():
        if is_event(s):
            said = [s.get(a) for a in ("key", "partitions", "cleanup", "retention")]
            if seen.setdefault(s["topic"], said) != said:
                yield f"{stem}: topic: declared otherwise elsewhere"


def facts_used(sources: Mapping[str, Schema]) -> Iterator[str]:
    """Every facts record is sealed by the event it names."""
    sealed = {
        (event_type_of(stem), f.get("seals"))
        for stem, s in sources.items()
        if is_event(s)
        for f in s["fields"]
    }
    for stem, s in sources.items():
        if not is_event(s) and (s.get("facts_of"), subject_of(s)) not in sealed:
            yield f"{stem}: facts_of: not sealed by that event"


def nothing_lost(
    sources: Mapping[str, Schema], released: Mapping[str, Sequence[Released]]
) -> Iterator[str]:
    """A released record keeps its file and text, ids are unique and versions count from 1."""
    now = {subject_of(s) for s in sources.values()}
    ids = [r.id for rows in released.values() for r in rows]
    if len(ids) != len(set(ids)):
        yield "released: an id given twice"
    for r in (r for rows in released.values() for r in rows):
        if sha256(r.text.encode()).hexdigest() != r.sha256:
            yield f"released: {r.file} is not what was released"
    for subject, rows in released.items():
        if subject not in now:
            yield f"released: {subject} has no file any more"
        if [r.version for r in rows] != list(range(1, len(rows) + 1)):
            yield f"released: {subject} does not count from 1"
