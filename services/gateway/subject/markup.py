"""A small writer of HTML: elements from names, attributes and children. Pure.

It guards that every text and attribute is escaped: what a partner wrote can never become markup.
"""

from collections.abc import Iterable, Sequence
from html import escape

VOID = frozenset({"meta", "img"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | Html
"""A text to be escaped, or markup that stands as it is."""


def tag(name: str, /, *children: Child, **attributes: str) -> Html:
    """One element; `class_` is the attribute `class`, and `_` in a name is a dash."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Html:
    """Children one after the other; a plain text is escaped, its line breaks are kept."""
    return Html("".join(c if isinstance(c, Html) else _text(c) for c in children))


def _text(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def table(heads: Sequence[str], rows: Iterable[Sequence[Child]]) -> Html:
    """A table with a head; a narrow screen shows each cell under its head's name."""
    head = tag("thead", tag("tr", *(tag("th", one, scope="col") for one in heads)))
    lines = [
        tag("tr", *(tag("td", cell, data_head=name) for name, cell in zip(heads, row, strict=True)))
        for row in rows
    ]
    return tag("table", head, tag("tbody", *lines))


def bullets(items: Iterable[Child]) -> Html:
    """A list."""
    return tag("ul", *(tag("li", one) for one in items))


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Names with what they stand for."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", what)) for name, what in pairs))
