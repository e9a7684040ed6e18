"""`python -m schemas.generate` writes `models.py`: a frozen dataclass for every record.

Guards that the classes and the schemas cannot differ (`--check` compares and writes nothing). It
knows only the Avro types that events use, and is kept small on purpose: simplify a schema rather
than let this grow.
"""

import sys
from pathlib import Path
from typing import Any, Final

from schemas.avsc import Schema, event_type_of, is_event, nested_records, sources

_HEAD: Final = '''"""The events and their facts as frozen dataclasses, by `schemas.generate`.

Do not edit. Facts records and sealed bytes are left out of every repr.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar
from uuid import UUID
'''
_SIMPLE: Final = {"string": "str", "int": "int", "long": "int", "boolean": "bool", "bytes": "bytes"}
_LOGICAL: Final = {"uuid": "UUID", "timestamp-millis": "datetime"}


def python_type(kind: Any) -> str:
    """Python type of an Avro type; KeyError for one that events do not use."""
    if isinstance(kind, list):
        return python_type(kind[1]) + " | None"
    if isinstance(kind, str):
        return _SIMPLE[kind]
    if "logicalType" in kind:
        return _LOGICAL[kind["logicalType"]]
    if kind["type"] == "array":
        return f"tuple[{python_type(kind['items'])}, ...]"
    if kind["type"] == "record":
        return str(kind["name"])
    return "str" if kind["type"] == "enum" else _SIMPLE[kind["type"]]


def default_of(spec: dict[str, Any], *, position: bool) -> str:
    """The default part of a field line; the position in the key is 0 until the bus gives it."""
    if position:
        return " = 0"
    if spec["class"] == "sealed":
        return " = field(default=None, repr=False)"
    if "default" not in spec:
        return ""
    return " = ()" if spec["default"] == [] else f" = {spec['default']!r}"


def class_text(record: Schema, stem: str | None) -> str:
    """Source of one dataclass; `stem` is the file of an outermost record, None for an inner one."""
    event = stem is not None and is_event(record)
    hidden = ", repr=False" if stem is not None and not event else ""
    lines = [
        f"@dataclass(frozen=True, kw_only=True{hidden})",
        f"class {record['name']}:",
        f'    """{record["doc"]}"""',
        "",
    ]
    if stem is not None and event:
        lines += [f'    event_type: ClassVar[str] = "{event_type_of(stem)}"', ""]
    for i, spec in enumerate(record["fields"]):
        kind = python_type(spec["type"])
        lines.append(f"    {spec['name']}: {kind}{default_of(spec, position=event and i == 0)}")
    return "\n".join(lines) + "\n"


def models_text() -> str:
    """The whole of `models.py`."""
    classes: dict[str, str] = {}
    unions: dict[str, list[str]] = {"Event": [], "Facts": []}
    for stem, schema in sources().items():
        for record in nested_records(schema):
            outer = record is schema
            classes.setdefault(record["name"], class_text(record, stem if outer else None))
        unions["Event" if is_event(schema) else "Facts"].append(schema["name"])
    tail = ["{} = (\n    {}\n)\n".format(name, "\n    | ".join(of)) for name, of in unions.items()]
    return "\n\n".join([_HEAD, *classes.values(), "\n".join(tail)])


def main(argv: list[str]) -> int:
    """Write `models.py`, or with `--check` exit 1 when it is not what would be written."""
    target = Path(__file__).with_name("models.py")
    if argv == ["--check"]:
        return int(target.read_text(encoding="utf-8") != models_text())
    target.write_text(models_text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
