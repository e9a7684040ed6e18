"""Pages whose command blocks are executed in their order, as a reader would type them.

A block's info string says what becomes of it: `sh run` and `python run` go into the one shell and
the one Python of the page, `text output` right after such a block is what it must have printed
(`…` stands for anything within a line, a line of it alone for any lines). A block of commands that
is not executed may hold only what a reader does before.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from select import select
from typing import Final

SECONDS: Final = 60
"""The most that one block may take."""
LANGUAGES: Final = ("sh", "bash", "python")
UNRUN: Final = frozenset({"make run", ". .venv/bin/activate", "pip install joserfc requests"})
"""Lines of commands that install or start, which is done before a page is executed."""
_FENCE: Final = re.compile(r"^```(?P<info>.*)\n(?P<text>(?:.*\n)*?)^```$", re.MULTILINE)
_DONE: Final = "block-done"
_SHELL: Final = f"""
trap 'echo "{_DONE} $?"' EXIT
while IFS= read -r file; do
  . "$file" >"$file.out" 2>&1 </dev/null
  echo "{_DONE} 0"
done
"""
_PYTHON: Final = f"""
import contextlib, sys, traceback
names = {{"__name__": "__main__"}}
for file in map(str.strip, sys.stdin):
    failed = 0
    with open(file + ".out", "w") as out, contextlib.redirect_stdout(out):
        try:
            exec(compile(open(file).read(), file, "exec"), names)
        except BaseException:
            traceback.print_exc(file=out)
            failed = 1
    print("{_DONE}", failed, flush=True)
"""
_Execute = Callable[[str, Path], list[str]]
_ARGV: Final = {
    "sh": ("bash", "-e", "-u", "-o", "pipefail", "-c", _SHELL),
    "python": (sys.executable, "-c", _PYTHON),
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block of commands; `line` is where it begins."""

    line: int
    kind: str
    runs: bool
    text: str
    output: str | None = None


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are commands, each with the output shown after it."""
    content = page.read_text(encoding="utf-8")
    found: list[Block] = []
    for fence in _FENCE.finditer(content):
        words, text = fence["info"].split(), fence["text"]
        if words == ["text", "output"]:
            found[-1] = replace(found[-1], output=text)
        elif words and words[0] in LANGUAGES:
            line = content.count("\n", 0, fence.start()) + 1
            found.append(Block(line=line, kind=words[0], runs=words[1:] == ["run"], text=text))
    return found


def unknown_lines(page: Path) -> list[str]:
    """Lines of blocks that are not executed and that are not known."""
    lines = (line for b in blocks(page) if not b.runs for line in b.text.splitlines())
    return [line for line in lines if line.partition(" #")[0].strip() not in UNRUN]


def matches(shown: str, printed: str) -> bool:
    """Whether what was printed is what the page shows; blanks at the ends of lines do not count."""
    pattern = "".join(map(_pattern, shown.strip().splitlines()))
    lines = "".join(f"{line.strip()}\n" for line in printed.strip().splitlines())
    return re.fullmatch(pattern, lines) is not None


def _pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*?"
    return ".*?".join(re.escape(part) for part in line.strip().split("…")) + r"\n"


def follow(page: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Execute a page in a folder; AssertionError names the block that did not do what it says."""
    with _reader(folder, environment) as execute:
        for number, block in enumerate(blocks(page)):
            if not block.runs:
                continue
            file = folder / f".{page.stem}-{number:02d}"
            file.write_text(block.text, encoding="utf-8")
            done = execute(block.kind, file)
            printed = file.with_name(f"{file.name}.out").read_text(encoding="utf-8")
            where = f"{page.name}:{block.line}"
            assert done == [_DONE, "0"], f"{where} failed:\n{block.text}\n{printed}"
            if block.output is not None:
                shown = f"and not\n{block.output}"
                assert matches(block.output, printed), f"{where} printed:\n{printed}\n{shown}"


@contextmanager
def _reader(folder: Path, environment: Mapping[str, str]) -> Iterator[_Execute]:
    """One shell and one Python, started when first needed."""
    at_work: dict[str, subprocess.Popen[str]] = {}

    def execute(kind: str, file: Path) -> list[str]:
        if kind not in at_work:
            at_work[kind] = subprocess.Popen(
                _ARGV[kind],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        process = at_work[kind]
        assert process.stdin is not None
        assert process.stdout is not None
        print(file, file=process.stdin, flush=True)
        ready, _, _ = select([process.stdout], [], [], SECONDS)
        return process.stdout.readline().split() if ready else ["took too long"]

    try:
        yield execute
    finally:
        for process in at_work.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=SECONDS)


def environment_of(run: Path, hub: str) -> dict[str, str]:
    """What a reader has: our commands on the path, the installation and the hub's address."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    return {**kept, "PATH": path, "CAUCE_RUN": str(run), "HUB": hub, "PYTHONUTF8": "1"}
