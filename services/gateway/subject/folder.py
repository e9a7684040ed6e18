"""An access report as a folder of files that anybody can check without us. Pure over the key given.

It guards that both forms of the report are signed byte for byte, and that the key and the commands
that prove it lie beside them. Writing the folder is the command line's.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from services.gateway.subject.page import page
from services.gateway.subject.wording import Wording
from services.kit.crypto import ed25519_public, sha256, sign_ed25519

PAGE: Final = "report.html"
DATA: Final = "report.json"
KEY: Final = "report-key.pem"
READ_ME: Final = {"es": "LEEME.txt", "en": "README.txt", "pt": "LEIAME.txt"}
COMMANDS: Final = tuple(
    f"openssl pkeyutl -verify -rawin -pubin -inkey {KEY} -in {name} -sigfile {name}.sig"
    for name in (PAGE, DATA)
)
FINGERPRINT: Final = f"openssl pkey -pubin -in {KEY} -outform DER | openssl dgst -sha256"
_DER_HEAD: Final = bytes.fromhex("302a300506032b6570032100")
"""SubjectPublicKeyInfo of an Ed25519 key before its 32 bytes (RFC 8410)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """The files by name, and what the key looks like from outside."""

    files: Mapping[str, bytes] = field(repr=False)
    key_sha256: str


def folder(report: Mapping[str, Any], seed: bytes, wording: Wording) -> Folder:
    """Both forms of a report, signed, with what is needed to check them."""
    der = _DER_HEAD + ed25519_public(seed)
    print_of_key = sha256(der).hex()
    html = page(report, COMMANDS, f"{FINGERPRINT}\n{print_of_key}", wording).encode()
    data = orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    made = {PAGE: html, DATA: data}
    signatures = {f"{name}.sig": sign_ed25519(seed, content) for name, content in made.items()}
    read_me = {READ_ME[wording.lang]: _read_me(print_of_key, wording).encode()}
    return Folder(files={**made, **signatures, KEY: _pem(der), **read_me}, key_sha256=print_of_key)


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n".encode()


def _read_me(print_of_key: str, wording: Wording) -> str:
    say = wording.say
    files = (
        (PAGE, say("file-html")),
        (DATA, say("file-json")),
        ("*.sig", say("file-sig")),
        (KEY, say("file-key")),
    )
    lines = [
        say("title").upper(),
        "",
        say("safety"),
        "",
        f"{say('files')}:",
        *(f"  {name.ljust(16)}{what}" for name, what in files),
        "",
        f"{say('verify')}. {say('verify-intro')}",
        "",
        *(f"  {command}" for command in COMMANDS),
        "",
        say("verify-answer"),
        "",
        say("verify-key"),
        "",
        f"  {FINGERPRINT}",
        f"  {print_of_key}",
    ]
    return "\n".join(lines) + "\n"
