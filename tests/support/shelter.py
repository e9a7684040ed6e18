"""`refugio-sur` as a process of a test, killed as hard as one likes."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from joserfc.jwk import ECKey

from connectors.sandbox.journal import read


class Shelter:
    """A running `refugio-sur` process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.hub_key = folder / "hub.pem"
        key = ECKey.generate_key("P-384")
        self.hub_key.write_bytes(key.as_pem(private=True))
        public = key.as_dict(private=False) | {"kid": key.thumbprint()}
        (folder / "jwks.json").write_text(json.dumps({"keys": [public]}))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **behaviour: object) -> None:
        behaviour.setdefault("answer_by", "none")
        options = [
            "--port", str(self.port), "--data", str(self.data), "--hub", "http://127.0.0.1:9",
            "--key", str(self.hub_key), "--hub-jwks", str(self.folder / "jwks.json"),
            "--behaviour", json.dumps(behaviour),
        ]  # fmt: skip
        command = [sys.executable, "-m", "connectors.sandbox", "refugio-sur", *options]
        self.process = subprocess.Popen(command)

    def kill(self) -> None:
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def journal(self, kind: str) -> list[dict[str, object]]:
        return [r for r in read(self.data / "refugio.jsonl") if r["kind"] == kind]
