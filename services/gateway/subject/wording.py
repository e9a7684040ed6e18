"""The words of an access report: its texts, the fields' names, codes and times. Pure.

It guards that whatever a report says, it says in the reader's language and in plain words. What is
said is `document`'s.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

from schemas.codes import Lang, code_lists, is_code, label

LANGUAGES: Final[tuple[Lang, ...]] = ("es", "en", "pt")
_FOLDER: Final = "services.gateway.subject"


@cache
def texts() -> Mapping[str, Mapping[Lang, str]]:
    """Every text by its key."""
    return MappingProxyType({row["key"]: _langs(row) for row in _rows("texts.csv")})


@dataclass(frozen=True, slots=True)
class FieldName:
    """What a field is called, and the code list of its values (empty: they are no codes)."""

    codes: str
    names: Mapping[Lang, str]


@cache
def field_names() -> Mapping[tuple[str, str], FieldName]:
    """Every field of a record by (`person` or `case`, name)."""
    rows = _rows("fields.csv")
    return MappingProxyType(
        {(row["owner"], row["field"]): FieldName(row["codes"], _langs(row)) for row in rows}
    )


@cache
def words() -> Mapping[tuple[str, str], Mapping[Lang, str]]:
    """Labels of codes that stand in none of the hub's own lists, by (list, code)."""
    return MappingProxyType({(r["list"], r["code"]): _langs(r) for r in _rows("words.csv")})


def _rows(name: str) -> Iterable[dict[str, str]]:
    text = files(_FOLDER).joinpath("data", name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _langs(row: Mapping[str, str]) -> Mapping[Lang, str]:
    return MappingProxyType({lang: row[lang] for lang in LANGUAGES})


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """How to say things to one reader."""

    lang: Lang
    zone: ZoneInfo

    def say(self, key: str, **values: object) -> str:
        """A text; KeyError when there is none."""
        return texts()[key][self.lang].format(**values)

    def coded(self, enum: str, code: str | None) -> str | None:
        """A code's label; the code itself where the list does not know it."""
        if code is None:
            return None
        if enum not in code_lists():
            found = words().get((enum, code)) or words().get((enum, code.partition("-")[0]))
            return found[self.lang] if found else code
        return label(enum, code, self.lang) if is_code(enum, code) else code

    def category(self, code: str) -> str:
        """A data category in plain words."""
        key = f"category-{code}"
        return self.say(key) if key in texts() else code

    def field(self, owner: str, name: str) -> str:
        """What a field is called."""
        found = field_names().get((owner, name))
        return found.names[self.lang] if found else name

    def time(self, at: datetime) -> str:
        """A day and minute in the cell's time zone."""
        return f"{self.day(at)}, {at.astimezone(self.zone):%H:%M}"

    def day(self, at: datetime) -> str:
        """A day."""
        local = at.astimezone(self.zone)
        return f"{local.day} {self.say(f'month-{local:%m}')} {local.year}"

    def stamp(self, at: datetime) -> str:
        """A time as documents hold it: ISO 8601 with the zone's offset."""
        return at.astimezone(self.zone).isoformat(timespec="seconds")

    def pair(self, enum: str, code: str | None) -> dict[str, Any] | None:
        """A code with its label; None stays None."""
        return None if code is None else {"code": code, "label": self.coded(enum, code)}

    def categories(self, codes: Iterable[str]) -> list[dict[str, Any]]:
        """Data categories with their plain words."""
        return [{"code": code, "label": self.category(code)} for code in codes]

    def value(self, owner: str, name: str, value: Any) -> list[str]:
        """A field's value in lines."""
        many = value if isinstance(value, list) else [value]
        found = field_names().get((owner, name))
        return [self._one(name, found.codes if found else "", one) for one in many]

    def _one(self, name: str, codes: str, value: Any) -> str:
        if isinstance(value, bool):
            return self.say("yes" if value else "no")
        if isinstance(value, dict):
            return self._parts(name, value)
        return (self.coded(codes, str(value)) or "") if codes else str(value)

    def _parts(self, name: str, value: Mapping[str, Any]) -> str:
        if name == "photos":
            return self.say("image", type=value.get("content_type") or "?")
        if name == "names":
            return _name(value)
        if name == "relatives":
            return _relative(value, self)
        main = [str(value[key]) for key in ("value", "text", "code") if key in value][:1]
        plain = [k for k in ("line", "city", "district", "postal_code") if k in value]
        main += _flat(value[key] for key in plain)
        notes = [one for one in self._notes(name, value) if one not in main]
        return f"{', '.join(main)} ({', '.join(notes)})" if notes else ", ".join(main)

    def _notes(self, name: str, value: Mapping[str, Any]) -> list[str]:
        """What stands in brackets after a value; systems are names for machines."""
        system = ("contact", value.get("system") if name == "telecom" else None)
        kinds = (
            system,
            ("use", value.get("use")),
            ("", value.get("type")),
            ("", value.get("code")),
        )
        return [self.coded(enum, code) or "" for enum, code in kinds if code]


def _name(value: Mapping[str, Any]) -> str:
    if value.get("text"):
        return str(value["text"])
    order = ("prefix", "given", "family", "suffix")
    return " ".join(_flat(value[key] for key in order if key in value))


def _relative(value: Mapping[str, Any], wording: Wording) -> str:
    found = [wording.coded("relation", one) or "" for one in value.get("relationship", [])]
    for key in ("names", "telecom", "addresses"):
        found += wording.value("person", key, value.get(key, []))
    if value.get("sex"):
        found.append(wording.coded("sex", value["sex"]) or "")
    found += _flat([value.get("birth_date") or []])
    return "; ".join(found)


def _flat(values: Iterable[Any]) -> list[str]:
    found: list[str] = []
    for value in values:
        found += map(str, value) if isinstance(value, list) else [str(value)]
    return found
