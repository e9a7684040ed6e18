"""One Kafka node in KRaft mode on this machine: settings, format, start.

It guards that nothing talks to the broker without a name: clients authenticate by SCRAM-SHA-512,
the broker to its own controller by a password in its settings file, and everything not allowed by
an ACL is refused. Users, ACLs and topics are `kafka_admin`'s.
"""

import base64
import os
import subprocess
import tempfile
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.console.local.jars import archive_options, java, kafka_jars
from services.console.local.place import LocalError, Place, make_folder, write_secret
from services.console.local.ports import LOOPBACK, answers
from services.console.local.processes import Command, start, wait_until

NAME = "kafka"
JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=CLIENT://{bind}:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=CLIENT://{host}:{port}
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
sasl.mechanism.controller.protocol=PLAIN
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required \
username="admin" password="{admin_password}";
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required \
username="controller" password="{controller_password}" user_controller="{controller_password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:controller
allow.everyone.if.no.acl.found=false
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.backoff.ms=1000
log.segment.bytes=16777216
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""
LOGGING = """\
status=warn
name=kafka
appender.console.type=Console
appender.console.name=STDOUT
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %m (%c)%n
rootLogger.level=info
rootLogger.appenderRefs=stdout
rootLogger.appenderRef.stdout.ref=STDOUT
"""


@dataclass(frozen=True, kw_only=True)
class Broker:
    """One node: its folder, its ports, and the passwords of its two super users."""

    home: Path
    port: int
    controller_port: int
    admin_password: str = field(repr=False)
    controller_password: str = field(repr=False)
    host: str = LOOPBACK
    bind: str = LOOPBACK

    @property
    def bootstrap(self) -> str:
        """What a client is given as KAFKA_BOOTSTRAP_SERVERS."""
        return f"{self.host}:{self.port}"


def broker_of(
    place: Place, *, port: int, controller_port: int, host: str = LOOPBACK, bind: str = LOOPBACK
) -> Broker:
    """The broker of an installation, with its secrets (made when there are none)."""
    return Broker(
        home=place.kafka,
        port=port,
        controller_port=controller_port,
        host=host,
        bind=bind,
        admin_password=place.secret("kafka.admin"),
        controller_password=place.secret("kafka.controller"),
    )


def prepare(broker: Broker) -> None:
    """Write the settings and, the first time, format the data folder."""
    make_folder(broker.home, mode=0o700)
    settings = broker.home / "server.properties"
    settings.unlink(missing_ok=True)
    write_secret(settings, _settings(broker))
    (broker.home / "log4j2.properties").write_text(LOGGING, encoding="ascii")
    if not (broker.home / "data" / "meta.properties").exists():
        _format(broker, settings)


def _settings(broker: Broker) -> str:
    return SETTINGS.format(
        host=broker.host,
        bind=broker.bind,
        port=broker.port,
        controller_port=broker.controller_port,
        admin_password=broker.admin_password,
        controller_password=broker.controller_password,
        data=broker.home / "data",
    )


def _format(broker: Broker, settings: Path) -> None:
    scram = f"SCRAM-SHA-512=[name=admin,password={broker.admin_password}]"
    words = ["kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(settings)]
    # Through an argument file: a command line can be read by everybody on the machine.
    with tempfile.NamedTemporaryFile("w", dir=broker.home, suffix=".args") as args:
        args.write("\n".join(f'"{w}"' for w in [*words, "--add-scram", scram]))
        args.flush()
        done = subprocess.run(
            [java(), *JVM, *archive_options(), "-cp", f"{kafka_jars()}/*", f"@{args.name}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
        raise LocalError(f"cannot format Kafka's data folder: {lines[-1][:160]}")


def _cluster_id() -> str:
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text


def command(broker: Broker, *, jvm: tuple[str, ...] | None = None) -> Command:
    """How the broker is started; `jvm` replaces the options of the start-up archive."""
    argv = [
        java(),
        *JVM,
        "-Xms64m",
        "-Xmx256m",
        "-Djava.awt.headless=true",
        "-Dlog4j2.disable.jmx=true",
        f"-Dlog4j2.configurationFile={broker.home / 'log4j2.properties'}",
        "--sun-misc-unsafe-memory-access=allow",
        *(archive_options() if jvm is None else jvm),
        "-cp",
        f"{kafka_jars()}/*",
        "kafka.Kafka",
        str(broker.home / "server.properties"),
    ]
    env = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"}
    return Command(name=NAME, argv=argv, env=env, cwd=broker.home)


def start_broker(
    place: Place, broker: Broker, *, timeout: float = 40, dies_with_us: bool = False
) -> None:
    """Start and wait until it takes connections; prepare() comes first."""
    start(place, replace(command(broker), dies_with_us=dies_with_us))
    wait_until(place, NAME, lambda: answers(broker.port), timeout=timeout)
