"""HAPI JPA as recipient: the FHIR server that most of the field runs, with its validator on."""

import json

from services.console.local import plan
from tests.conformance import java
from tests.conformance.installation import Installation, free_port, running_program
from tests.conformance.proxy import guarded, running
from tests.conformance.recipient import Server, Tell, play

LIBRARIES = [
    f"ca.uhn.hapi.fhir:hapi-fhir-jpaserver-test-utilities:{java.HAPI}",
    f"ca.uhn.hapi.fhir:hapi-fhir-validation-resources-r4:{java.HAPI}",
    "org.slf4j:slf4j-simple:2.0.17",
]
START_SECONDS = 120.0


async def run(installation: Installation, tell: Tell) -> None:
    """Start it, play every scene, stop it."""
    port = free_port()
    own, front = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    argv = java.command("Peer", LIBRARIES, str(port), f"{front}/fhir")
    place = installation.hub.place
    jwks = json.loads(plan.hub_jwks(place).read_text(encoding="ascii"))
    with running_program(argv, port, place.logs / "hapi.log", START_SECONDS):
        server = Server(base=f"{own}/fhir", headers={})
        async with running(guarded(front, own, jwks)) as proxy:
            await play(installation, proxy, server, tell)
