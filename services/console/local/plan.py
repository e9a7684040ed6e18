"""What an installation consists of: its settings, and the command of each of our own processes.

It guards that every process gets the whole environment it needs written out (no path that depends
on where it was started) and nothing of the caller's environment but PATH and language.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from connectors.sandbox.hooksign import HookKey, new_key
from connectors.webhook.signing import written
from services.console.local.place import REPOSITORY, LocalError, Place, make_folder, write_secret
from services.console.local.processes import Command
from services.kit.crypto import ed25519_public, jwk_of, new_es384_pem
from services.kit.settings import Settings

VAULT, HUB, REFUGIO, ONG = "vault", "hub", "refugio-sur", "ong-norte"
OURS = (VAULT, HUB, REFUGIO, ONG)
"""Our processes in the order in which they start."""
CLINICA = "clinica-demo"
EVERYBODY = (*OURS, CLINICA)
"""And the partner that takes webhooks."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """Servers that exist already: an administrator's database address, a broker list; or None."""

    database_url: str | None
    kafka: str | None


def given_servers(environment: Mapping[str, str]) -> Given:
    """Read `DATABASE_URL` and `KAFKA_BOOTSTRAP_SERVERS`."""
    return Given(
        database_url=environment.get("DATABASE_URL") or None,
        kafka=environment.get("KAFKA_BOOTSTRAP_SERVERS") or None,
    )


def local_settings(place: Place, environment: Mapping[str, str]) -> Settings:
    """Settings of an installation: the caller's `CAUCE_*`, and folders and servers of the place."""
    given = given_servers(environment)
    defaults = {
        "CAUCE_SECRETS_DIR": str(place.secrets),
        "CAUCE_VAULT_KEYS_DIR": str(place.root / "vault-keys"),
        "CAUCE_VAULT_URL": f"unix:{place.socket}",
        "CAUCE_EGRESS_PRIVATE_NETWORKS": "127.0.0.0/8",
    }
    if given.database_url:
        parts = urlsplit(given.database_url)
        if parts.hostname is None:
            raise LocalError("DATABASE_URL names no host: postgresql://user:password@host:port/db")
        defaults["CAUCE_DATABASE_HOST"] = parts.hostname
        defaults["CAUCE_DATABASE_PORT"] = str(parts.port or 5432)
    if given.kafka:
        defaults["CAUCE_KAFKA_BOOTSTRAP"] = given.kafka
    return Settings.from_environment({**defaults, **environment})


def base_environment() -> dict[str, str]:
    """What a process of ours inherits from the caller."""
    kept = {k: os.environ[k] for k in ("PATH", "LANG", "LC_ALL", "TZ") if k in os.environ}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


def commands(place: Place, settings: Settings) -> dict[str, Command]:
    """How each of our processes is started."""
    environment = {**base_environment(), **settings.to_environment()}
    return {
        VAULT: _service(VAULT, "vault", environment),
        HUB: _service(HUB, "all", environment),
        REFUGIO: _partner(place, settings, REFUGIO, settings.refugio_port),
        ONG: _partner(place, settings, ONG, settings.ong_port),
        CLINICA: _partner(place, settings, CLINICA, settings.clinica_port),
    }


def _service(name: str, which: str, environment: Mapping[str, str]) -> Command:
    argv = [sys.executable, "-m", "services", which]
    return Command(name=name, argv=argv, env=environment, cwd=REPOSITORY)


def _partner(place: Place, settings: Settings, name: str, port: int) -> Command:
    home = partner_home(place, name)
    argv = [sys.executable, "-m", "connectors.sandbox", name, "--port", str(port)]
    argv += ["--data", str(home / "data"), "--hub", settings.public_url]
    argv += ["--key", str(home / "client.es384"), "--canonical", settings.canonical_base]
    if name == REFUGIO:
        argv += ["--hub-jwks", str(hub_jwks(place))]
    if name == CLINICA:
        argv += ["--hook-key", str(home / "hook.jwk"), "--hub-hook-key", str(hub_hook_key(place))]
    return Command(name=name, argv=argv, env=base_environment(), cwd=REPOSITORY)


def partner_home(place: Place, name: str) -> Path:
    """Folder of a sandbox partner: its key and its store. Nothing of the hub is in it."""
    return place.root / "partners" / name


def hub_jwks(place: Place) -> Path:
    """File with the hub's public key as its partners get it."""
    return place.root / "partners" / "hub-jwks.json"


def hub_hook_key(place: Place) -> Path:
    """File with the hub's public key for webhooks, likewise."""
    return place.root / "partners" / "hub-webhook.pub"


def clinic_key(place: Place) -> str:
    """The public key of the clinic's own messages, made with its private one on first use."""
    home = partner_home(place, CLINICA)
    if not (home / "hook.jwk").exists():
        make_folder(home / "data", mode=0o700)
        new_key(home / "hook.jwk")
    return HookKey(home / "hook.jwk").public


def make_partner_files(place: Place) -> None:
    """Keys of the sandbox partners, and the hub's public keys for them."""
    for name in (REFUGIO, ONG, CLINICA):
        home = partner_home(place, name)
        make_folder(home / "data", mode=0o700)
        if not (home / "client.es384").exists():
            write_secret(home / "client.es384", new_es384_pem().decode())
        jwk = jwk_of((home / "client.es384").read_bytes())
        (home / "jwks.json").write_text(json.dumps({"keys": [jwk]}), encoding="ascii")
    clinic_key(place)
    public = ed25519_public((place.secrets / "webhook.ed25519").read_bytes())
    hub_hook_key(place).write_text(written("whpk_", public), encoding="ascii")
    jwk = jwk_of((place.secrets / "client.es384").read_bytes())
    hub_jwks(place).write_text(json.dumps({"keys": [jwk]}), encoding="ascii")


def ready_address(settings: Settings, name: str) -> tuple[str, int]:
    """Host and port at which a process of ours answers `GET /ready`."""
    ports = {
        VAULT: settings.vault_admin_port,
        HUB: settings.admin_port,
        REFUGIO: settings.refugio_port,
        ONG: settings.ong_port,
        CLINICA: settings.clinica_port,
    }
    host = settings.admin_host if name in (VAULT, HUB) else "127.0.0.1"
    return ("127.0.0.1" if host == "0.0.0.0" else host), ports[name]


def ports_of(settings: Settings, name: str) -> dict[str, int]:
    """Setting → port that the process listens on."""
    ports = {
        VAULT: {"CAUCE_VAULT_ADMIN_PORT": settings.vault_admin_port},
        HUB: {"CAUCE_PUBLIC_PORT": settings.public_port, "CAUCE_ADMIN_PORT": settings.admin_port},
        REFUGIO: {"CAUCE_REFUGIO_PORT": settings.refugio_port},
        ONG: {"CAUCE_ONG_PORT": settings.ong_port},
        CLINICA: {"CAUCE_CLINICA_PORT": settings.clinica_port},
        "kafka": {
            "CAUCE_KAFKA_BOOTSTRAP": int(settings.kafka_bootstrap.rpartition(":")[2]),
            "CAUCE_KAFKA_CONTROLLER_PORT": settings.kafka_controller_port,
        },
        "postgres": {"CAUCE_DATABASE_PORT": settings.database_port},
    }
    return ports[name]
