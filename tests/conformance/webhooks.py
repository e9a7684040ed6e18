"""standardwebhooks (npm) as a recipient's system: what we sign it verifies, what it signs we take.

It knows shared secrets (v1) alone; the Python library is in `make test`.
"""

import asyncio
import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from connectors.sandbox.people import person
from connectors.sandbox.samples import bundle
from tests.conformance import npm
from tests.conformance.installation import Installation
from tests.conformance.kitclient import NODE, SECONDS
from tests.conformance.report import Report
from tests.support.hooks import Endpoint, endpoint
from tests.support.withdrawal_world import Organisation, World, running_world

SOURCE, TOLD = "ong-norte", "clinica-libre"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
CLOUD_EVENT = "application/cloudevents+json"


async def run(installation: Installation, report: Report) -> None:
    """Announce a referral to it, and let it answer."""
    folder = await asyncio.to_thread(npm.installed, NODE)
    secret = installation.hub.place.secrets / f"webhook.{TOLD}"
    secret.write_text(SECRET, encoding="ascii")
    async with endpoint() as told:
        orgs = (
            Organisation(org=SOURCE, org_type="ngo", role="source"),
            Organisation(org=TOLD, hook=f"{told.base}/in"),
        )
        async with running_world(installation.hub, installation.pg, orgs) as world:
            await _shared(world)
            await _play(world, told, folder, report)


async def _shared(world: World) -> None:
    """Its record says that a shared secret signs."""
    await world.admin.execute(
        "update gateway.partner set version = version + 1,"
        " record = jsonb_set(record, '{webhook,scheme}', '\"v1\"') where org = $1",
        TOLD,
    )
    await asyncio.sleep(1.2)  # the registry is a second old at most


async def _play(world: World, told: Endpoint, folder: Path, report: Report) -> None:
    url = world.hub.settings.public_url
    token = await world.tokens[SOURCE].token(world.session)
    sent = bundle(person=person(9_200_001), to_org=TOLD, entry=f"{TOLD}-casa")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    async with world.session.post(f"{url}/fhir", data=orjson.dumps(sent), headers=headers) as got:
        _see(report, got.status == 200, "a referral to it is taken")
    for _ in range(200):
        if told.told:
            break
        await asyncio.sleep(0.05)
    (message, raw), *_ = told.told
    event = orjson.loads(raw)
    data = {"referral": event["data"]["id"], "command": "accept"}
    answer = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": TOLD,
        "type": "cauce.referral.command",
        "data": data,
    }
    mark, at, body = f"msg_{uuid4().hex}", int(time.time()), json.dumps(answer)
    said = await asyncio.to_thread(
        _node,
        folder,
        {
            "secret": SECRET,
            "headers": {name.lower(): value for name, value in message.items()},
            "body": raw.decode(),
            "answer": {"id": mark, "at": at, "body": body},
        },
    )
    _see(report, said["verified"] is True, "it verifies our message")
    _see(report, said["tampered"] is False, "it refuses our message with one byte more")
    signed = {"webhook-id": mark, "webhook-timestamp": str(at), "Content-Type": CLOUD_EVENT}
    for signature, status in (("v1,AAAA", 401), (said["signature"], 200), (said["signature"], 409)):
        head = signed | {"webhook-signature": signature}
        async with world.session.post(f"{url}/hooks/{TOLD}", data=body, headers=head) as got:
            _see(report, got.status == status, f"its answer is dealt with: {status}")


def _see(report: Report, holds: bool, line: str) -> None:
    (report if holds else report.fail)(line)


def _node(folder: Path, given: dict[str, Any]) -> Any:
    done = subprocess.run(
        ("node", "hooks.mjs"),
        cwd=folder,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return json.loads(done.stdout)
