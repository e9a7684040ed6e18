"""The repository is what it says: its folders, names, sizes, targets and settings.

Each check walks the files that git knows (or would add), so that a new file is checked by existing.
"""

import ast
import os
import re
import subprocess
from importlib.metadata import packages_distributions
from pathlib import Path
from statistics import median

import pytest
import yaml

from services.kit.settings import OF_THE_COMMAND_LINE, PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
TOP = {
    ".ci",
    ".dockerignore",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "connectors",
    "deploy",
    "docker-compose.yml",
    "bench",
    "docs",
    "pyproject.toml",
    "requirements-dev.txt",
    "requirements.txt",
    "schemas",
    "services",
    "tests",
}
GENERATED = {"schemas/models.py"}
FILE_LINES = 400
FUNCTION_LINES = 60
MEDIAN_FUNCTION_LINES = 10
# Words that would tell of the machine something was written on, in parts so that this file passes.
FORBIDDEN = re.compile(
    "|".join(
        [
            "/wo" + "rk/",
            r"\.\./sha" + "red",
            r"\bTO" + r"DO\b",
            r"\bFIX" + r"ME\b",
            r"\bXX" + r"X\b",
        ]
    )
)


def listed() -> list[str]:
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = [name for name in done.stdout.decode().split("\0") if name]
    return sorted(name for name in names if (ROOT / name).is_file())


FILES = listed()
PYTHON = [name for name in FILES if name.endswith(".py") and name not in GENERATED]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def functions(name: str) -> list[tuple[str, int]]:
    found = []
    for node in ast.walk(ast.parse(text_of(name))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            found.append((node.name, node.end_lineno - node.lineno + 1))
    return found


def test_the_top_level_holds_the_known_names_only() -> None:
    assert {name.split("/")[0] for name in FILES} <= TOP


def test_no_other_distribution_claims_our_package_names() -> None:
    owners = packages_distributions()
    for package in ("services", "connectors", "schemas"):
        assert set(owners.get(package, [])) <= {"cauce"}


@pytest.mark.parametrize("name", PYTHON)
def test_no_file_is_longer_than_the_limit(name: str) -> None:
    assert len(text_of(name).splitlines()) <= FILE_LINES


@pytest.mark.parametrize("name", PYTHON)
def test_no_function_is_longer_than_the_limit(name: str) -> None:
    assert [(f, lines) for f, lines in functions(name) if lines > FUNCTION_LINES] == []


def test_the_median_function_is_short() -> None:
    lengths = [n for name in PYTHON if not name.startswith("tests/") for _, n in functions(name)]
    assert median(lengths) <= MEDIAN_FUNCTION_LINES


@pytest.mark.parametrize("name", FILES)
def test_no_file_tells_of_the_machine_it_was_written_on(name: str) -> None:
    try:
        found = FORBIDDEN.findall(text_of(name))
    except UnicodeDecodeError:
        return
    assert found == []


@pytest.mark.parametrize("name", [name for name in PYTHON if not name.startswith("tests/")])
def test_every_module_says_what_it_is(name: str) -> None:
    if not name.endswith("__init__.py"):
        assert ast.get_docstring(ast.parse(text_of(name)))


def test_every_folder_of_python_is_a_package() -> None:
    folders = {os.path.dirname(name) for name in PYTHON}  # noqa: PTH120 - git gives strings
    assert {f for f in folders if f and f"{f}/__init__.py" not in FILES} == set()


def test_the_lock_has_a_hash_for_every_line_and_no_index_address() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = text_of(name)
        assert "://" not in text
        assert "-url" not in text
        for entry in re.split(r"\n(?=[a-z])", text.strip()):
            assert re.match(r"[a-z0-9.\-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_development_lock_agrees_with_the_running_one() -> None:
    pins = re.compile(r"^(\S+)==(\S+)", re.MULTILINE)
    running = dict(pins.findall(text_of("requirements.txt")))
    development = dict(pins.findall(text_of("requirements-dev.txt")))
    assert {n: v for n, v in development.items() if running.get(n, v) != v} == {}


def test_every_make_target_is_in_make_help() -> None:
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, check=True)
    assert targets == {line.split()[0] for line in shown.stdout.decode().splitlines()}


def test_the_compose_file_sets_only_settings_that_there_are() -> None:
    compose = yaml.safe_load(text_of("docker-compose.yml"))
    known = {PREFIX + name.upper() for name in Settings.model_fields} | OF_THE_COMMAND_LINE
    for service in compose["services"].values():
        assert set(service.get("environment", {})) <= known


def test_the_compose_file_runs_one_image() -> None:
    compose = yaml.safe_load(text_of("docker-compose.yml"))
    assert {service["image"] for service in compose["services"].values()} == {"cauce"}


def test_every_setting_is_used() -> None:
    code = "\n".join(text_of(n) for n in PYTHON if n.startswith(("services/", "connectors/")))
    unused = {n for n in Settings.model_fields if not re.search(rf"\.{n}\b", code)}
    assert unused == set()


def test_every_path_that_the_documents_name_exists() -> None:
    """A control named in the threat model stands only while its test does."""
    named = re.compile(r"`((?:tests|services|connectors|schemas|deploy|bench|docs)/[\w./-]+)`")
    documents = [name for name in FILES if name.endswith(".md")]
    missing = [
        (name, path)
        for name in documents
        for path in named.findall(text_of(name))
        if not (ROOT / path).exists()
    ]
    assert missing == []


def test_every_make_target_that_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    documents = [name for name in FILES if name.endswith(".md")]
    for name in documents:
        assert set(re.findall(r"`make ([a-z-]+)", text_of(name))) <= targets, name
