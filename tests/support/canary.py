"""Invented identities whose every trace can be recognised, and the scanner that looks for them.

Each identity has values that nothing else contains: a name with letters outside ASCII, a name in
ASCII alone (for ids, codes and addresses on the net), a number and a birth date. `patterns` gives
the byte strings in which a value may turn up; `Scanner` finds any of them in any bytes.
"""

import base64
import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from random import Random
from typing import Any, Final, Literal
from urllib.parse import quote

import ahocorasick

Kind = Literal["name", "token", "number", "birth"]
KINDS: Final[tuple[Kind, ...]] = ("name", "token", "number", "birth")
COUNT: Final = 1000
ONSETS: Final = ("b", "ch", "d", "f", "g", "j", "k", "l", "m", "n", "p", "r", "t", "v", "x", "z")
VOWELS: Final = "aeiou"
ACCENTS: Final = {"a": "á", "e": "é", "i": "í", "o": "ó", "u": "ü", "n": "ñ"}
FIRST_BIRTH: Final = date(1921, 1, 4)


@dataclass(frozen=True, slots=True)
class Identity:
    """One invented person; `name` has letters outside ASCII, `token` has none."""

    name: str
    token: str
    number: str
    birth: str

    def value(self, kind: Kind) -> str:
        found: str = getattr(self, kind)
        return found


def _word(random: Random, syllables: int) -> str:
    return "".join(random.choice(ONSETS) + random.choice(VOWELS) for _ in range(syllables))


def _accented(word: str, random: Random) -> str:
    """The word with one accent in its first half and an eñe in its second."""
    places = [n for n, letter in enumerate(word[:6]) if letter in VOWELS]
    at = random.choice(places)
    return word[:at] + ACCENTS[word[at]] + word[at + 1 :] + "ñ" + random.choice(VOWELS)


def identities(count: int = COUNT, seed: int = 20261125) -> list[Identity]:
    """That many identities, always the same ones; no value occurs twice."""
    random = Random(seed)
    found: list[Identity] = []
    seen: set[str] = set()
    while len(found) < count:
        name, token = _accented(_word(random, 5), random), _word(random, 7)
        if {name, token} & seen:
            continue
        seen |= {name, token}
        birth = FIRST_BIRTH + timedelta(days=11 * len(found))
        number = str(random.randrange(10**13, 10**14))
        found.append(Identity(name.capitalize(), token, number, birth.isoformat()))
    return found


def fold(text: str) -> str:
    """Lower case without accents, as a second look at decoded text."""
    apart = unicodedata.normalize("NFKD", text).lower()
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def spellings(value: str) -> list[str]:
    """How the same value may be written: case, composed or not, without accents."""
    cases = (value, value.lower(), value.upper(), value.capitalize())
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD") for text in cases]
    return list(dict.fromkeys([*forms, *(_ascii(text) for text in cases)]))


def _base64(raw: bytes) -> Iterator[bytes]:
    """The characters that do not depend on what stands before or after, at each offset."""
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + raw)
        start = (0, 2, 3)[offset]
        end = (offset + len(raw)) * 8 // 6
        yield text[start:end]
        yield text[start:end].replace(b"+", b"-").replace(b"/", b"_")


def _escapes(text: str) -> Iterator[bytes]:
    yield json.dumps(text)[1:-1].encode()
    yield "".join(c if c.isascii() else f"\\u{ord(c):04X}" for c in text).encode()
    yield repr(text.encode())[2:-1].encode()


ENCODINGS: Final = (
    "plain", "case", "nfd", "ascii", "latin-1", "utf-16", "hex", "json", "percent", "base64",
    "digest",
)  # fmt: skip


def encoded(value: str) -> dict[str, set[bytes]]:
    """The byte strings that give a value away, by the name of the encoding."""
    written = spellings(value)
    composed = [text for text in written if unicodedata.is_normalized("NFC", text)]
    both = [value, unicodedata.normalize("NFD", value), _ascii(value)]
    raws = [text.encode() for text in both]
    return {
        "plain": {value.encode()},
        "case": {text.encode() for text in composed},
        "nfd": {unicodedata.normalize("NFD", text).encode() for text in written},
        "ascii": {_ascii(text).encode() for text in written},
        "latin-1": {text.encode("latin-1") for text in composed},
        "utf-16": {text.encode(f"utf-16-{end}") for text in both for end in ("le", "be")},
        "hex": {h.encode() for raw in raws for h in (raw.hex(), raw.hex().upper())},
        "json": {form for text in both for form in _escapes(text)},
        "percent": {
            form.encode()
            for text in both
            for form in (quote(text), quote(text).lower(), quote(text.lower()))
        },
        "base64": {form for raw in raws for form in _base64(raw)},
        "digest": {
            form
            for raw in raws[:1]
            for digest in (hashlib.sha256(raw), hashlib.sha1(raw), hashlib.md5(raw))
            for form in (digest.digest(), digest.hexdigest().encode())
        },
    }


@dataclass(frozen=True, slots=True)
class Hit:
    """What was found where: never an accident, so the value may be shown (nobody has it)."""

    place: str
    kind: Kind
    identity: int
    encoding: str
    around: bytes


class Scanner:
    """Finds every value of the identities, in every encoding."""

    def __init__(self, people: list[Identity]) -> None:
        self.people = people
        self.scanned: dict[str, int] = {}
        self.hits: list[Hit] = []
        self._automaton: Any = ahocorasick.Automaton()
        for number, person in enumerate(people):
            for kind in KINDS:
                self._add(number, kind, person.value(kind))
        self._automaton.make_automaton()

    def _add(self, number: int, kind: Kind, value: str) -> None:
        for encoding, forms in encoded(value).items():
            for form in forms:
                text = form.decode("latin-1")
                if text not in self._automaton:
                    self._automaton.add_word(text, (number, kind, encoding, len(text)))

    @cached_property
    def folded(self) -> Any:
        """Automaton over folded text: names and tokens alone, whatever their case and accents."""
        found = ahocorasick.Automaton()
        for number, person in enumerate(self.people):
            for kind in ("name", "token"):
                value = fold(person.value(kind))
                found.add_word(value, (number, kind, "folded", len(value)))
        found.make_automaton()
        return found

    def scan(self, place: str, data: bytes) -> list[Hit]:
        """Hits in raw bytes; the place and its size are remembered."""
        self.scanned[place] = self.scanned.get(place, 0) + len(data)
        return self._search(self._automaton, place, data.decode("latin-1"))

    def scan_text(self, place: str, text: str) -> list[Hit]:
        """Hits in decoded text: as its bytes, and folded."""
        found = self.scan(place, text.encode("utf-8", "surrogatepass"))
        return found or self._search(self.folded, place, fold(text))

    def _search(self, automaton: Any, place: str, text: str) -> list[Hit]:
        found = []
        for end, (number, kind, encoding, length) in automaton.iter(text):
            start = end + 1 - length
            around = text[max(0, start - 40) : end + 40].encode("latin-1", "replace")
            found.append(Hit(place, kind, number, encoding, around))
        self.hits += found
        return found

    def report(self, hits: Iterable[Hit] | None = None, most: int = 20) -> str:
        """The hits by place, a few of them in full."""
        all_hits = list(self.hits if hits is None else hits)
        counts: dict[str, int] = {}
        for hit in all_hits:
            counts[hit.place] = counts.get(hit.place, 0) + 1
        lines = [f"{place}: {count}" for place, count in sorted(counts.items())]
        return "\n".join([*lines, *(repr(hit) for hit in all_hits[:most])])
