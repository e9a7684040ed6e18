"""An access report as one page to read or print: no script, nothing from elsewhere. Pure.

It guards that the page says what the document says and that whatever stands in a record is text or
a picture and nothing that runs. What is in it is `document`'s; the words are `wording`'s.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

from services.gateway.subject import markup
from services.gateway.subject.markup import Child, Html, bullets, facts, join, table, tag
from services.gateway.subject.wording import Wording

Json = Mapping[str, Any]
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def page(report: Json, commands: Sequence[str], fingerprint: str, wording: Wording) -> str:
    """The whole page."""
    say = wording.say
    style = files("services.gateway.subject").joinpath("data/report.css").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", say("title")),
        tag("style", Html(style)),
    )
    body = tag(
        "body",
        tag(
            "main",
            _cover(report, wording),
            _record(report["record"], wording),
            _recipients(report["recipients"], wording),
            _stopped(report["stopped"], wording),
            _referrals(report["referrals"], wording),
            _consents(report["consents"], wording),
            _openings(report["openings"], wording),
            _keys(report["keys_destroyed"], wording),
            _rights(wording),
            _verify(report, commands, fingerprint, wording),
        ),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang=wording.lang)}\n"


def _section(title: str, intro: str, *children: Child) -> Html:
    return tag("section", tag("h2", title), tag("p", intro, class_="intro"), *children)


def _at(text: str | None, wording: Wording) -> str:
    return wording.time(datetime.fromisoformat(text)) if text else "–"


def _day(text: str, wording: Wording) -> str:
    return wording.day(datetime.fromisoformat(text))


def _label(pair: Json | None) -> str:
    return str(pair["label"]) if pair else "–"


def _labels(pairs: Sequence[Json]) -> Html:
    return bullets(str(pair["label"]) for pair in pairs) if pairs else Html("–")


# --- cover --------------------------------------------------------------------------------------


def _cover(report: Json, wording: Wording) -> Html:
    say = wording.say
    about = facts(
        [
            (say("made-at"), _at(report["made_at"], wording)),
            (say("sent-by"), report["sender"]["name"]),
            (say("hub"), report["hub"]),
            (say("report-number"), tag("code", report["report"])),
            (say("times-in"), report["time_zone"]),
        ]
    )
    more = report["other_cases"]
    others = [tag("p", say("other-cases", count=more), class_="note")] if more else []
    return tag(
        "header",
        tag("h1", say("title")),
        tag("p", say("intro"), class_="lead"),
        tag("p", say("safety"), class_="warning"),
        about,
        *others,
        tag("h2", say("in-short")),
        _short(report, wording),
    )


def _short(report: Json, wording: Wording) -> Html:
    say, recipients = wording.say, [r for r in report["recipients"] if r["disclosures"]]
    figures = (
        ("short-recipients", len(recipients)),
        ("short-disclosures", sum(len(r["disclosures"]) for r in recipients)),
        ("short-consents", sum(1 for c in report["consents"] if c["in_force"])),
        ("short-openings", len(report["openings"])),
    )
    tiles = [
        tag("div", tag("b", str(number)), tag("span", say(key)), class_="tile")
        for key, number in figures
    ]
    return tag("div", *tiles, class_="tiles")


# --- what is held -------------------------------------------------------------------------------


def _record(versions: Sequence[Json], wording: Wording) -> Html:
    parts: list[Child] = []
    for place, one in enumerate(versions):
        newer = versions[place - 1] if place else None
        parts.append(_version(one, newer, wording))
    return _section(wording.say("data"), wording.say("data-intro"), *parts)


def _version(one: Json, newer: Json | None, wording: Wording) -> Html:
    say = wording.say
    title = tag(
        "h3",
        say("version", number=one["number"]),
        " · ",
        say("received-at", at=_at(one["received_at"], wording)),
    )
    if one["data"] is None:
        return tag("article", title, tag("p", say("destroyed-version"), class_="note"))
    if newer is None or newer["data"] is None:
        return tag("article", title, *_whole(one, wording))
    return tag("article", title, *_differences(one, newer, wording))


def _whole(one: Json, wording: Wording) -> list[Child]:
    say = wording.say
    parts: list[Child] = []
    for group in one["data"]:
        rows = [(field["label"], _value(field)) for field in group["fields"]]
        parts += [tag("h4", group["label"]), facts(rows)]
    if one["sender_numbers"]:
        rows = [(n["label"], str(n["value"])) for n in one["sender_numbers"]]
        parts += [tag("h4", say("sender-numbers")), facts(rows)]
    return parts or [tag("p", say("nothing-given"))]


def _differences(one: Json, newer: Json, wording: Wording) -> list[Child]:
    """The fields that the next version changed, as they were before it."""
    say = wording.say
    then, later = _by_name(one), _by_name(newer)
    names = [n for n in {**then, **later} if _raw(then.get(n)) != _raw(later.get(n))]
    if not names:
        return [tag("p", say("same-as-newer"), class_="note")]
    rows = [
        (
            str((then.get(name) or later[name])["label"]),
            _value(then[name]) if name in then else say("not-given"),
        )
        for name in names
    ]
    return [tag("p", say("only-differences"), class_="note"), facts(rows)]


def _by_name(one: Json) -> dict[str, Json]:
    return {field["name"]: field for group in one["data"] for field in group["fields"]}


def _raw(field: Json | None) -> Any:
    return field["value"] if field else None


def _value(field: Json) -> Child:
    lines = list(field["text"])
    pictures = [
        picture
        for one in (field["value"] if field["name"] == "person.photos" else [])
        if (picture := _picture(one, lines[0]))
    ]
    if pictures:
        return join(pictures)
    return lines[0] if len(lines) == 1 else bullets(lines)


def _picture(photo: Json, words: str) -> Html | None:
    kind, data = photo.get("content_type"), photo.get("data") or ""
    if kind not in PICTURES:
        return None
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    return tag("img", src=f"data:{kind};base64,{data}", alt=words)


# --- what was done with it ----------------------------------------------------------------------


def _recipients(recipients: Sequence[Json], wording: Wording) -> Html:
    say = wording.say
    parts: list[Child] = [_recipient(one, wording) for one in recipients]
    return _section(
        say("recipients"),
        say("recipients-intro"),
        *(parts or [tag("p", say("nobody"), class_="note")]),
    )


def _recipient(one: Json, wording: Wording) -> Html:
    say = wording.say
    heads = [say(key) for key in ("when", "what", "purpose", "basis", "outcome")]
    rows = [
        (
            _at(row["at"], wording),
            _labels(row["categories"]),
            _label(row["purpose"]),
            _label(row["legal_basis"]),
            row["outcome_text"],
        )
        for row in one["disclosures"]
    ]
    parts: list[Child] = [
        tag("h3", one["name"]),
        tag("p", one["standing"]["label"], class_=f"standing {one['standing']['code']}"),
        table(heads, rows),
    ]
    if one["erasures"]:
        parts += [tag("h4", say("erasures")), _erasures(one["erasures"], wording)]
    return tag("article", *parts)


def _erasures(erasures: Sequence[Json], wording: Wording) -> Html:
    say = wording.say
    heads = [say(key) for key in ("asked-at", "what", "answer", "answered-at")]
    return table(
        heads,
        [
            (
                _at(row["asked_at"], wording),
                _labels(row["categories"]) if row["categories"] else say("everything"),
                _label(row["answer"]) if row["answer"] else say("no-answer"),
                _at(row["answered_at"], wording),
            )
            for row in erasures
        ],
    )


def _stopped(rows: Sequence[Json], wording: Wording) -> Html:
    if not rows:
        return Html("")
    say = wording.say
    return _section(
        say("stopped"),
        say("stopped-intro"),
        table(
            [say(key) for key in ("when", "to", "outcome")],
            [(_at(r["at"], wording), r["to"]["name"], r["outcome_text"]) for r in rows],
        ),
    )


def _referrals(rows: Sequence[Json], wording: Wording) -> Html:
    if not rows:
        return Html("")
    say = wording.say
    return _section(
        say("referrals"),
        say("referrals-intro"),
        table(
            [say(key) for key in ("when", "from", "to", "purpose", "status")],
            [
                (
                    _at(row["at"], wording),
                    row["from"]["name"],
                    row["to"]["name"],
                    _label(row["service"] or row["purpose"]),
                    _label(row["status"]),
                )
                for row in rows
            ],
        ),
    )


def _consents(consents: Sequence[Json], wording: Wording) -> Html:
    parts = [_consent(number, one, wording) for number, one in enumerate(consents, 1)]
    return _section(wording.say("consents"), wording.say("consents-intro"), *parts)


def _consent(number: int, one: Json, wording: Wording) -> Html:
    say = wording.say
    about = [
        (say("given-by"), _label(one["giver"])),
        (say("form"), _label(one["form"])),
        (say("basis"), _label(one["legal_basis"])),
    ]
    if one["assent"]:
        about.append((say("assent"), _label(one["assent"])))
    changes = [tag("div", *_change(row, wording), class_="change") for row in one["changes"]]
    return tag("article", tag("h3", say("permission", number=number)), facts(about), *changes)


def _change(row: Json, wording: Wording) -> list[Child]:
    say = wording.say
    span = say(
        "from-until", start=_day(row["valid_from"], wording), end=_day(row["valid_to"], wording)
    )
    what = tag("p", tag("b", row["what"]["label"]), f" · {_at(row['at'], wording)} · {row['by']}")
    if not row["rules"]:
        return [what, tag("p", say("no-permits"), class_="note")]
    heads = ["", *(say(key) for key in ("to", "purpose", "what", "valid"))]
    rules = [
        (
            say(rule["decision"]),
            rule["to"],
            _label(rule["purpose"]) if rule["purpose"] else say("any-purpose"),
            _labels(rule["categories"]) if rule["categories"] else say("anything"),
            say("until", at=_day(rule["valid_to"], wording)),
        )
        for rule in row["rules"]
    ]
    return [what, tag("p", f"{say('valid')}: {span}", class_="small"), table(heads, rules)]


def _openings(rows: Sequence[Json], wording: Wording) -> Html:
    say = wording.say
    return _section(
        say("openings"),
        say("openings-intro"),
        table(
            [say(key) for key in ("when", "reason", "approved-by")],
            [
                (
                    _at(row["at"], wording),
                    _label(row["reason"]),
                    bullets(str(org["name"]) for org in row["organisations"]),
                )
                for row in rows
            ],
        ),
    )


def _keys(rows: Sequence[Json], wording: Wording) -> Html:
    if not rows:
        return Html("")
    say = wording.say
    return _section(
        say("keys"),
        say("keys-intro"),
        markup.table(
            [say("when"), say("purpose")],
            [(_at(row["at"], wording), _label(row["purpose"])) for row in rows],
        ),
    )


def _rights(wording: Wording) -> Html:
    keys = ("right-correct", "right-withdraw", "right-complain")
    return tag(
        "section",
        tag("h2", wording.say("rights")),
        bullets(wording.say(key) for key in keys),
    )


def _verify(report: Json, commands: Sequence[str], fingerprint: str, wording: Wording) -> Html:
    say = wording.say
    return _section(
        say("verify"),
        say("verify-intro"),
        tag("pre", "\n".join(commands)),
        tag("p", say("verify-answer")),
        tag("p", say("verify-key")),
        tag("pre", fingerprint),
        facts([(say("leaf"), tag("code", report["leaf"]))]),
    )
