"""`python -m services.kit.refusals`: the refusal catalogue as a page for a partner's engineer.

It guards that the page says what the hub answers with: it is written from the catalogue alone and
a test asks that it is fresh. What a kind of refusal asks of its reader stands here.
"""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from services.kit.errors import Refusal, catalogue

PAGE: Final = Path(__file__).parents[2] / "docs" / "partner" / "refusals.md"
_HEAD: Final = """# Refusals

Written from the hub's catalogue by `python -m services.kit.refusals`; do not edit.

Every refusal says `code` (what kind), `rule` (which check) and `field` (where), with a text in the
language of `Accept-Language` (`es`, `en`, `pt`; otherwise Spanish). `code` and `rule` are stable:
let programs read them, and people the text. A submitted value is never repeated.

- `/v1`, `/hooks`: `application/problem+json` with `faults: [{code, rule, field, text}]`.
- `/fhir`: an OperationOutcome; each issue has `code` and `rule` as two codings of `details`, and
  the field in `expression`.
- `/oauth/token`: `{error, error_rule, error_field, error_description}`.

`request_id` (by FHIR `diagnostics`) is ours: tell it to the operator when you ask for help.

| HTTP | what to do |
|---|---|
"""
ADVICE: Final = {
    400: "Your program wrote what is not the format. Mend it; the same fails again.",
    401: "Get a new token; if that fails, the rule says which part of the assertion is wrong.",
    403: "It is not yours, or no longer: ask the operator about roles and scopes. `suppressed`: "
    "the consent has ended or never covered you; there is nothing to retry.",
    404: "There is no such thing for you. Another party's ids are not found either.",
    405: "Another method: see the documents of the hub.",
    406: "Accept JSON.",
    409: "`in-progress`: the same again after `Retry-After`. `duplicate`: that key has other "
    "content, take a new key only if it is a new submission. `conflict`: read again, then decide.",
    410: "Taken back. Erase what you have and say so (erasure requests).",
    412: "Somebody changed it: read again, then decide.",
    413: "Send less.",
    415: "Set `Content-Type`.",
    422: "Understood and not allowed: a person mends the content, the consent or the choice.",
    428: "Read it, then send the version you saw in `If-Match`.",
    429: "Wait for `Retry-After`.",
    503: "Wait for `Retry-After`, then the same again under the same key.",
}
"""What a reader does about an answer, by its status."""
_WHERE: Final = {"fhir": "FHIR only", "native": "`/v1` and `/hooks` only", "auth": "token only"}


def page_text() -> str:
    """The whole page."""
    rows = sorted(catalogue().values(), key=lambda row: (row.code, row.rule))
    statuses = sorted({row.http for row in rows})
    advice = "".join(f"| {status} | {ADVICE[status]} |\n" for status in statuses)
    parts = (_part(code, list(group)) for code, group in groupby(rows, lambda row: row.code))
    return _HEAD + advice + "".join(parts)


def _part(code: str, rows: list[Refusal]) -> str:
    statuses = ", ".join(str(status) for status in sorted({row.http for row in rows}))
    head = (
        f"\n## {code}\nHTTP {statuses}\n\n| rule | field | es | en | pt |\n|---|---|---|---|---|\n"
    )
    return head + "".join(map(_line, rows))


def _line(row: Refusal) -> str:
    texts = " | ".join(row.texts[lang].replace("|", "\\|") for lang in ("es", "en", "pt"))
    where = f" ({_WHERE[row.surface]})" if row.surface in _WHERE else ""
    return f"| `{row.rule}`{where} | {' / '.join(_fields(row))} | {texts} |\n"


def _fields(row: Refusal) -> Iterator[str]:
    """The names of the field, by FHIR and natively."""
    if row.field == "*":
        yield "the element"
    elif not row.field:
        yield "–"
    else:
        yield from dict.fromkeys((f"`{row.field}`", f"`{row.native_field}`"))


def main() -> int:
    """Write the page."""
    PAGE.write_text(page_text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
