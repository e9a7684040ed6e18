"""Packages of npm for the conformance run, by a lock file of ours and without their scripts."""

import shutil
import subprocess
from pathlib import Path

from services.console.local.jars import locked
from tests.conformance import java


def installed(source: Path) -> Path:
    """A copy of the folder with its packages."""
    folder = java.home() / source.name
    with locked(java.home() / "lock"):
        folder.mkdir(exist_ok=True)
        for file in source.iterdir():
            shutil.copyfile(file, folder / file.name)
        words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(words, cwd=folder, check=True)
    return folder
