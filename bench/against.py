"""A path of two revisions by turns in one run, and the ratios of what each cost.

Each turn starts an installation of its own. CPU per referral compares even while the machine does
other things, rates only when it is quiet; both are shown.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import orjson

ROOT = Path(__file__).parent.parent
REST = "everything"


@contextmanager
def tree_of(revision: str) -> Iterator[Path]:
    """A work tree of `revision`, gone at the end; CalledProcessError for an unknown one."""
    with tempfile.TemporaryDirectory(prefix="cauce-against-") as folder:
        place = str(Path(folder) / "tree")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", place, revision], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run([*git, "remove", "--force", place], check=True)


def compare(revision: str, pairs: int, options: Sequence[str]) -> dict[str, Any]:
    """`pairs` turns of each; ms of CPU by part and rates, before and after, and their ratios."""
    before, after = [], []
    with tree_of(revision) as other:
        for _ in range(pairs):
            before.append(_turn(other, options))
            after.append(_turn(ROOT, options))
    parts = {name: _ratio(before, after, name) for name in before[0]["cpu"]}
    return {
        "against": revision,
        "pairs": pairs,
        "cpu_ms_per_referral": parts,
        "rates": {"before": [b["rate"] for b in before], "after": [a["rate"] for a in after]},
        "doubled": sum(turn["doubled"] for turn in (*before, *after)),
    }


def table(found: Mapping[str, Any]) -> str:
    """The ratios as text."""
    lines = [f"{'CPU ms per referral':24}{'before':>8}{'after':>8}{'ratio':>8}"]
    for name, figure in found["cpu_ms_per_referral"].items():
        numbers = f"{figure['before']:8.2f}{figure['after']:8.2f}{figure['ratio']:8.2f}"
        lines.append(f"{name:24}{numbers}")
    lines.append("A ratio says something only where the generator's own is near 1.")
    for name, rates in found["rates"].items():
        lines.append(f"rate {name}: " + ", ".join(f"{rate:.0f}/s" for rate in rates))
    return "\n".join(lines)


def _turn(tree: Path, options: Sequence[str]) -> dict[str, Any]:
    subprocess.run(
        [sys.executable, "-m", "bench", "--repeat", "1", *options],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    newest = max((tree / "bench" / "results").glob("*.json"))
    load: dict[str, Any] = orjson.loads(newest.read_bytes())["sustained"][0]
    shares = load["cpu"]
    cpu = {**shares["ms_per_referral"], REST: shares["ms_per_referral_all"]}
    return {"cpu": cpu, "rate": load["rate"], "doubled": load["doubled"]}


def _ratio(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], name: str
) -> dict[str, float]:
    old, new = (mean(turn["cpu"].get(name, 0.0) for turn in turns) for turns in (before, after))
    return {"before": old, "after": new, "ratio": new / old if old else 0.0}
