"""`python -m connectors.sandbox ong-norte|refugio-sur|clinica-demo …`:

one sandbox partner as a process of its own.
"""

import argparse
import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from connectors.sandbox.agency import Agency
from connectors.sandbox.agency_api import AgencyApi
from connectors.sandbox.answers import Answers
from connectors.sandbox.behaviour import changed
from connectors.sandbox.clinic import Clinic, switched
from connectors.sandbox.clinic_api import ClinicApi
from connectors.sandbox.hooksign import HookKey
from connectors.sandbox.shelter import Shelter
from connectors.sandbox.shelter_api import ShelterApi
from connectors.sandbox.smart import TokenClient, TokenEndpoint

SOURCE_SCOPE = (
    "system/Task.crus system/ServiceRequest.crus system/Consent.crus system/Patient.cr "
    "system/Organization.rs system/HealthcareService.rs"
)
CLINIC_SCOPE = "system/Task.crus system/ServiceRequest.crs system/Consent.crus system/Patient.crs"
RECIPIENT_SCOPE = "system/Task.rus system/ServiceRequest.rs system/Patient.r system/Consent.rs"


def arguments() -> argparse.ArgumentParser:
    """The command line of every partner."""
    parser = argparse.ArgumentParser(prog="python -m connectors.sandbox", description=__doc__)
    parser.add_argument("partner", choices=["ong-norte", "refugio-sur", "clinica-demo"])
    parser.add_argument("--port", type=int, required=True, help="loopback port to serve on")
    parser.add_argument("--data", type=Path, required=True, help="folder of the durable store")
    parser.add_argument("--hub", required=True, help="public URL of the hub")
    parser.add_argument("--key", type=Path, required=True, help="ES384 private key, PEM")
    parser.add_argument("--org", help="organisation code, the partner's name if absent")
    parser.add_argument("--hub-jwks", type=Path, help="refugio-sur: the hub's public keys")
    parser.add_argument("--hook-key", type=Path, help="clinica-demo: its Ed25519 key, JWK")
    parser.add_argument("--hub-hook-key", type=Path, help="clinica-demo: the hub's `whpk_…`")
    parser.add_argument("--canonical", default="https://cauce.example/fhir")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--behaviour", default="{}", help="switches as JSON")
    return parser


def tokens(options: argparse.Namespace, scope: str) -> TokenClient:
    """The partner's client side of the hub's token endpoint."""
    org = options.org or options.partner
    return TokenClient(org, f"{options.hub}/oauth/token", options.key, scope)


async def serve(app: Starlette, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    config = uvicorn.Config(app, host=host, port=port, access_log=False, log_level="warning")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: setattr(server, "should_exit", True))
    await server.serve()


async def run_refugio(options: argparse.Namespace) -> None:
    """The FHIR server of the shelter."""
    jwks: dict[str, Any] = json.loads(options.hub_jwks.read_text())
    shelter = Shelter.open(options.data)
    shelter.behaviour = changed(shelter.behaviour, json.loads(options.behaviour))
    base = f"http://{options.host}:{options.port}"
    api = ShelterApi(shelter, TokenEndpoint(f"{base}/oauth/token", jwks))
    client = tokens(options, RECIPIENT_SCOPE)
    answers = Answers(shelter, options.hub, options.canonical, client)
    await answers.start()
    try:
        await serve(api.app(), options.host, options.port)
    finally:
        await answers.stop()
        shelter.journal.close()


async def run_ong(options: argparse.Namespace) -> None:
    """The case manager's system."""
    agency = Agency(options.data, options.hub, tokens(options, SOURCE_SCOPE))
    await agency.start()
    try:
        await serve(AgencyApi(agency).app(), options.host, options.port)
    finally:
        await agency.stop()


async def run_clinica(options: argparse.Namespace) -> None:
    """The clinic's system."""
    client = tokens(options, CLINIC_SCOPE)
    clinic = Clinic.open(options.data, options.hub, client, HookKey(options.hook_key))
    clinic.behaviour = switched(clinic.behaviour, json.loads(options.behaviour))
    agency = Agency(options.data, options.hub, client, "clinica-sent.jsonl")
    await clinic.start()
    await agency.start()
    try:
        api = ClinicApi(clinic, agency, options.hub_hook_key.read_text().strip())
        await serve(api.app(), options.host, options.port)
    finally:
        await agency.stop()
        await clinic.stop()


RUNS = {"refugio-sur": run_refugio, "ong-norte": run_ong, "clinica-demo": run_clinica}


def main() -> None:
    """Start the named partner."""
    options = arguments().parse_args()
    asyncio.run(RUNS[options.partner](options))


if __name__ == "__main__":
    main()
