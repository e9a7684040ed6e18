"""The table of differences in `docs/conformance.md`, from `differences.csv`."""

from pathlib import Path

from tests.conformance.differences import rows

DOCUMENT = Path("docs/conformance.md")
BEGIN, END = "<!-- differences -->", "<!-- end of differences -->"


def expected() -> str:
    """The document with its table as the file says."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{_table()}\n{END}{after}"


def _table() -> str:
    ways = {"out": "emitted", "in": "accepted"}
    lines = [
        "| we | where | changed | the validator says | why we differ |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {ways[way]} | `{row.where}` | {row.change.replace('*', 'anyhow')} | "
        f"{row.finding.replace('*', 'several')} | {row.reason} |"
        for way in ways
        for row in rows(way)
    ]
    return "\n".join(lines)
