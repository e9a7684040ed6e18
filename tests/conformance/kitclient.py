"""fhir-kit-client (npm) as a sender's system; it gets its token from us, for it cannot sign."""

import asyncio
import json
import subprocess
from pathlib import Path

from connectors.sandbox.people import person
from connectors.sandbox.samples import BASE, bundle
from tests.conformance import npm
from tests.conformance.emitted import PULLING, PUSHED, SOURCE, Scene, running_scene
from tests.conformance.installation import Installation
from tests.conformance.report import Report

NODE = Path(__file__).parent / "node"
SECONDS = 120


async def run(installation: Installation, report: Report) -> None:
    """Let it play a sender, and tell what it saw."""
    folder = await asyncio.to_thread(npm.installed, NODE)
    async with running_scene(installation) as scene:
        given = json.dumps(await _given(scene)).encode()
        process = await asyncio.create_subprocess_exec(
            "node",
            "sender.mjs",
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(given), SECONDS)
    for line in out.decode().splitlines():
        report(line)
    if process.returncode:
        report.fail(err.decode()[-1500:])


async def _given(scene: Scene) -> object:
    hub = scene.world.hub.settings
    recipients = (PUSHED, PULLING, PULLING)
    people = [person(9_100_000 + number) for number in range(3)]
    return {
        "base": f"{hub.public_url}/fhir",
        "token": await scene.world.tokens[SOURCE].token(scene.world.session),
        "bundles": [
            bundle(person=who, to_org=org, entry=f"{org}-casa")
            for who, org in zip(people, recipients, strict=True)
        ],
        "identifier": f"https://{SOURCE}.example/people|{people[0].number}",
        "reason": {
            "coding": [{"system": f"{BASE}/CodeSystem/referral-reason-code", "code": "duplicate"}]
        },
    }
