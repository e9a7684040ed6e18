"""sekmet-fhir as recipient: another server that we did not write, with SMART of its own.

It lives in an environment of its own, so that nothing of it meets the hub's libraries.
"""

import json
import secrets
import subprocess
import sys
from pathlib import Path

import yaml

from services.console.local import plan
from services.console.local.jars import locked
from tests.conformance import java
from tests.conformance.installation import Installation, free_port, running_program
from tests.conformance.proxy import Proxy, running
from tests.conformance.recipient import Server, Tell, play

REQUIREMENTS = Path(__file__).parent / "sekmet.txt"
START_SECONDS = 60.0
SCOPE = "system/*.cruds"
"""It grants a transaction only to who may do everything."""


async def run(installation: Installation, tell: Tell) -> None:
    """Start it, play every scene, stop it."""
    port = free_port()
    own, front = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    home = installation.hub.place.root / "sekmet"
    home.mkdir()
    bearer = secrets.token_urlsafe(16)
    jwks = json.loads(plan.hub_jwks(installation.hub.place).read_text(encoding="ascii"))
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "base_url": f"{front}/fhir",
        "public_url": front,
        "data_dir": str(home),
        "simulator": {"enabled": False},
        "server_auth": {
            "types": ["bearer", "smart"],
            "tokens": [bearer],
            "smart_clients": [{"client_id": "cauce", "jwks": jwks, "scopes": "system/*.*"}],
        },
    }
    (home / "settings.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    argv = [str(environment() / "bin" / "sekmet"), "serve", "--config", str(home / "settings.yaml")]
    log = installation.hub.place.logs / "sekmet.log"
    with running_program(argv, port, log, START_SECONDS):
        server = Server(base=f"{own}/fhir", headers={"Authorization": f"Bearer {bearer}"})
        async with running(Proxy(front, own, f"{front}/auth/token", None)) as proxy:
            await play(installation, proxy, server, tell, SCOPE)


def environment() -> Path:
    """Its own environment, made once."""
    folder = java.home() / "sekmet"
    with locked(java.home() / "lock"):
        if not (folder / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(folder / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, "--require-hashes", "-r", str(REQUIREMENTS)], check=True)
            (folder / "ready").touch()
    return folder
