"""The OpenAPI and AsyncAPI documents of a running hub, read by the linters of their makers."""

import asyncio
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.conformance import npm
from tests.conformance.emitted import SOURCE, running_scene
from tests.conformance.installation import Installation
from tests.conformance.report import Report

LINT = Path(__file__).parent / "lint"
SECONDS = 120


async def run(installation: Installation, report: Report) -> None:
    """Fetch both as a partner, and let them be judged."""
    folder = await asyncio.to_thread(npm.installed, LINT)
    async with running_scene(installation) as scene:
        token = await scene.world.tokens[SOURCE].token(scene.world.session)
        for name in ("openapi", "asyncapi"):
            url = f"{scene.world.hub.settings.public_url}/docs/{name}.json"
            headers = {"Authorization": f"Bearer {token}"}
            async with scene.world.session.get(url, headers=headers) as answer:
                (folder / f"{name}.json").write_bytes(await answer.read())
    await asyncio.to_thread(_openapi, folder, report)
    await asyncio.to_thread(_asyncapi, folder, report)


def _openapi(folder: Path, report: Report) -> None:
    words = ("node_modules/.bin/redocly", "lint", "openapi.json", "--config", "redocly.yaml")
    done = _run(folder, (*words, "--format", "json"))
    found = json.loads(done.stdout[done.stdout.index("{") :])
    for one in found["problems"]:
        places = ", ".join(str(at.get("pointer")) for at in one["location"])
        report.fail(f"openapi: {one['ruleId']} at {places}: {one['message']}")
    if done.returncode == 0:
        paths = len(json.loads((folder / "openapi.json").read_bytes())["paths"])
        report(f"Redocly's strict rules hold for the OpenAPI document of {paths} paths")


def _asyncapi(folder: Path, report: Report) -> None:
    text = (folder / "asyncapi.json").read_text(encoding="utf-8")
    done = _run(folder, ("node", "asyncapi.mjs"), text)
    lines = done.stdout.splitlines() or [done.stderr[-500:]]
    if done.returncode == 0:
        report(f"AsyncAPI's parser takes the AsyncAPI document: {lines[-1]}")
    for line in lines if done.returncode else ():
        report.fail(f"asyncapi: {line}")


def _run(folder: Path, words: Sequence[str], given: str = "") -> "subprocess.CompletedProcess[str]":
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **quiet},
        input=given,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
