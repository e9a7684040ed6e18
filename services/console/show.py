"""How the commands print what the hub answered: JSON for programs, aligned rows for people."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(answer: object) -> None:
    """The answer as it came."""
    print(json.dumps(answer, indent=2, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table; columns are as wide as their widest value."""
    table = [list(columns), *([cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        print("  ".join(value.ljust(w) for value, w in zip(line, widths, strict=True)).rstrip())


def print_fields(answer: Mapping[str, Any], indent: str = "") -> None:
    """Name and value, one a line; tables inside are indented."""
    width = max((len(name) for name in answer), default=0)
    for name, value in answer.items():
        if isinstance(value, Mapping):
            print(f"{indent}{name}:")
            print_fields(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            print(f"{indent}{name}:")
            for one in value:
                print_fields(one, indent + "  ")
                print()
        else:
            print(f"{indent}{name.ljust(width)}  {cell(value)}")


def cell(value: object) -> str:
    """A value in one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    if isinstance(value, Mapping):
        return " ".join(f"{name}={one}" for name, one in value.items()) or "-"
    return str(value)
