"""Kafka's start-up archive: the JVM loads prepared classes and is up in half the time.

Made once per machine user by a training run on an empty folder, kept beside the jars. Without it
everything works, more slowly; so what goes wrong here is never an error.
"""

import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from services.console.local import kafka, kafka_admin, processes
from services.console.local.jars import archive_path, kafka_jars, locked
from services.console.local.place import LocalError, Place
from services.console.local.ports import answers, free_ports


def make_archive() -> bool:
    """Make the archive if there is none; answers whether there is one now."""
    kafka_jars()
    path = archive_path()
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            with suppress(LocalError, OSError, subprocess.SubprocessError):
                _train(path)
    return path.exists()


def _train(path: Path) -> None:
    root = Path(tempfile.mkdtemp(prefix="cauce-train-"))
    place = Place(root=root)
    place.make()
    port, controller_port = free_ports(2)
    broker = kafka.broker_of(place, port=port, controller_port=controller_port)
    scratch = path.with_suffix(".new")
    try:
        kafka.prepare(broker)
        processes.start(place, kafka.command(broker, jvm=(f"-XX:AOTCacheOutput={scratch}",)))
        processes.wait_until(place, kafka.NAME, lambda: answers(port), timeout=60)
        client = kafka_admin.connect(broker.bootstrap, "admin", broker.admin_password)
        kafka_admin.provision(client, {})
        client.close()
        processes.stop(place, kafka.NAME, timeout=60)
        scratch.rename(path)
    finally:
        processes.stop(place, kafka.NAME)
        shutil.rmtree(root, ignore_errors=True)
