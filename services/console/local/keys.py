"""The secret files of an installation: made once, 0600, never overwritten.

The formats: `pg.*`, `kafka.*` are text; `*.key`, `service.*`, `*.ed25519`, `*.pub` are raw 32
bytes; `client.es384` is PEM. What they are for is written beside each list.
"""

import os
import secrets
import tempfile
from pathlib import Path

from services.console.local.kafka_admin import PRINCIPALS
from services.console.local.place import Place, make_folder
from services.kit.crypto import ed25519_public, new_es384_pem
from services.kit.migrate import HUB_ROLES

HUB_KEYS = ("token.key", "digest.key", "index.key", "alias.key")
"""Access tokens, digests of refusals, indexes of partners' identifiers, aliases."""
SIGNING = ("grant", "checkpoint", "webhook", "report")
"""Ed25519 pairs: grants that the vault checks, checkpoints of the custody log, calls to hooks,
access reports of persons."""
BOOTSTRAP = "staff-bootstrap"
"""Registers the first person of the staff, and nobody after."""
VAULT_KEYS = ("root.key", "pseudonym.key", "index.key")
"""In the vault's own folder, read by the vault alone."""


def make_secrets(place: Place, vault_keys: Path) -> None:
    """Make every secret that is not there yet; administrators' come with their servers."""
    for name in HUB_ROLES:
        place.secret(f"pg.{name}")
    for name in PRINCIPALS:
        place.secret(f"kafka.{name}")
    place.secret(BOOTSTRAP)
    place.secret("staff-bootstrap")  # lets the first person in, once
    for name in (*HUB_KEYS, *(f"service.{role}" for role in HUB_ROLES)):
        _once(place.secrets / name, secrets.token_bytes(32))
    for name in SIGNING:
        seed = place.secrets / f"{name}.ed25519"
        _once(seed, secrets.token_bytes(32))
        _once(place.secrets / f"{name}.pub", ed25519_public(seed.read_bytes()))
    _once(place.secrets / "client.es384", new_es384_pem())
    make_folder(vault_keys, mode=0o700)
    make_folder(vault_keys / "epochs", mode=0o700)
    for name in VAULT_KEYS:
        _once(vault_keys / name, secrets.token_bytes(32))


def _once(path: Path, content: bytes) -> None:
    """Write a 0600 file unless it exists; never half of it."""
    if path.exists():
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        Path(temporary).unlink()


def database_passwords(place: Place) -> dict[str, str]:
    """Role → password."""
    return {role: place.secret(f"pg.{role}") for role in HUB_ROLES}


def kafka_passwords(place: Place) -> dict[str, str]:
    """Principal → password."""
    return {user: place.secret(f"kafka.{user}") for user in PRINCIPALS}
