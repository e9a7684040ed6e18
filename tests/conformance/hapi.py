"""HAPI JPA as recipient: the FHIR server that most of the field runs, with its validator on."""

from services.console.local import plan
from tests.conformance import java
from tests.conformance.installation import Installation, free_port, running_program
from tests.conformance.proxy import running_proxy
from tests.conformance.recipient import Server, Tell, play

LIBRARIES = [
    f"ca.uhn.hapi.fhir:hapi-fhir-jpaserver-test-utilities:{java.HAPI}",
    f"ca.uhn.hapi.fhir:hapi-fhir-validation-resources-r4:{java.HAPI}",
    "org.slf4j:slf4j-simple:2.0.17",
]
START_SECONDS = 120.0


async def run(installation: Installation, tell: Tell) -> None:
    """Start it, play every scene, stop it."""
    port, front = free_port(), free_port()
    argv = java.command("Peer", LIBRARIES, str(port), f"http://127.0.0.1:{front}/fhir")
    log = installation.hub.place.logs / "hapi.log"
    with running_program(argv, port, log, START_SECONDS):
        server = Server(base=f"http://127.0.0.1:{port}/fhir", headers={})
        jwks = plan.hub_jwks(installation.hub.place)
        async with running_proxy(server.base, front, jwks) as proxy:
            await play(installation, proxy, server, tell)
