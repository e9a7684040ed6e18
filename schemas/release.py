"""`python -m schemas.release` gives every changed schema its next version and id, for good.

Guards that an id, once given, always means the same text. Whether the change is allowed is judged
by `lint` before anything is written.
"""

import argparse
import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from schemas import avsc, lint

_ROOT: Final = Path(__file__).parent
_NOT_ON_THE_WIRE: Final = frozenset(
    {"doc", "owner", "consumers", "retention", "partitions", "cleanup"}
)


def wire_form(part: Any) -> Any:
    """The schema without what may change freely: words, consumers, topic settings."""
    if isinstance(part, dict):
        return {k: wire_form(v) for k, v in part.items() if k not in _NOT_ON_THE_WIRE}
    return [wire_form(p) for p in part] if isinstance(part, list) else part


def unreleased() -> list[str]:
    """File stems whose current schema is not the last released one."""
    last = {subject: rows[-1].schema for subject, rows in avsc.released().items()}
    return [
        stem
        for stem, schema in avsc.sources().items()
        if wire_form(schema) != wire_form(last.get(avsc.subject_of(schema)))
    ]


def release(root: Path = _ROOT) -> list[str]:
    """Write new versions under `released/` and answer their stems; ValueError if `lint` objects."""
    if faults := lint.faults(avsc.sources(), avsc.released()):
        raise ValueError("\n".join(faults))
    index_file = root / "released" / "ids.json"
    index = json.loads(index_file.read_text(encoding="utf-8"))
    next_id = 1 + max((row["id"] for rows in index.values() for row in rows), default=0)
    stems = unreleased()
    for schema_id, stem in enumerate(stems, next_id):
        rows = index.setdefault(avsc.subject_of(avsc.sources()[stem]), [])
        version = len(rows) + 1
        name = f"{stem}.v{version}.avsc"
        text = (root / f"{stem}.avsc").read_text(encoding="utf-8")
        (root / "released" / name).write_text(text, encoding="utf-8")
        digest = sha256(text.encode()).hexdigest()
        rows.append({"id": schema_id, "version": version, "file": name, "sha256": digest})
    index_file.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return stems


def main(argv: list[str]) -> int:
    """Release, or with `--check` only say whether something is unreleased (exit 1)."""
    parser = argparse.ArgumentParser(prog="python -m schemas.release", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(argv).check
    stems = unreleased() if check else release()
    sys.stdout.write("".join(f"{stem}\n" for stem in stems))
    return 1 if check and stems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
