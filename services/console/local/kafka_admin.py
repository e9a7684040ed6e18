"""Users, rights and topics of the broker.

It guards that only the relay may write to a `cauce.` topic, and that a service reads the topics of
the events that name it as consumer, in groups that begin with its own name, and nothing else
(the gateway also sees offsets).
Running it again changes nothing but what has changed.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from kafka.errors import KafkaError

from schemas.topics import Topic, event_types, topics
from services.console.local.place import LocalError

WRITER = "relay"
WATCHER = "gateway"
PRINCIPALS = ("gateway", "consent", "referral", "delivery", "custody", "vault", "relay")


def connect(
    bootstrap: str, user: str, password: str, security: str = "SASL_PLAINTEXT"
) -> KafkaAdminClient:
    """An admin client; one line naming the likely causes when the broker takes us not in."""
    try:
        return KafkaAdminClient(
            bootstrap_servers=bootstrap,
            sasl_plain_username=user,
            sasl_plain_password=password,
            security_protocol=security,
            sasl_mechanism="SCRAM-SHA-512",
            bootstrap_timeout_ms=15_000,
        )
    except Exception as error:
        raise LocalError(
            f"no Kafka at {bootstrap} for user {user}: not running, or its password was changed"
            f" ({type(error).__name__})"
        ) from error


def provision(client: KafkaAdminClient, passwords: Mapping[str, str]) -> None:
    """Make users with these passwords, rights, and the topics of the schemas."""
    make_users(client, passwords)
    make_rights(client, readers())
    make_topics(client, topics())
    wake_coordinator(client)


def wake_coordinator(client: KafkaAdminClient) -> None:
    """Have the broker make its topic of offsets now, not when the first consumer joins."""
    for _ in range(50):
        try:
            client.list_group_offsets(["gateway"])
        except KafkaError:
            time.sleep(0.1)
        else:
            return


def readers() -> dict[str, set[str]]:
    """Service → topics that carry an event which names it as consumer."""
    wanted: dict[str, set[str]] = {}
    for event in event_types().values():
        for service in event.consumers:
            wanted.setdefault(service, set()).add(event.topic)
    return wanted


def make_users(client: KafkaAdminClient, passwords: Mapping[str, str]) -> None:
    """Give each user its SCRAM-SHA-512 password."""
    sha512 = ScramMechanism.SCRAM_SHA_512
    answers = client.alter_user_scram_credentials(
        [
            UserScramCredentialUpsertion(
                user=user, mechanism=sha512, iterations=8192, password=password
            )
            for user, password in passwords.items()
        ]
    )
    failed = sorted(user for user, problem in answers.items() if problem)
    if failed:
        raise LocalError(f"Kafka did not take the password of {failed[0]}")


def make_rights(client: KafkaAdminClient, read: Mapping[str, Iterable[str]]) -> None:
    """Exactly these rights: missing ones are added, others taken away."""
    wanted = [_allow(WRITER, "WRITE", ResourceType.TOPIC, "cauce.", prefix=True)]
    for service, names in sorted(read.items()):
        wanted += [_allow(service, "READ", ResourceType.TOPIC, name) for name in sorted(names)]
        wanted.append(_allow(service, "READ", ResourceType.GROUP, service, prefix=True))
    # The people at the admin port see how far each topic and each consumer is, not what is in it.
    wanted.append(_allow(WATCHER, "DESCRIBE", ResourceType.TOPIC, "cauce.", prefix=True))
    wanted += [_allow(WATCHER, "DESCRIBE", ResourceType.GROUP, service) for service in sorted(read)]
    present = _present(client)
    surplus = [acl for acl in present if acl not in wanted]
    missing = [acl for acl in wanted if acl not in present]
    if surplus:
        client.delete_acls(surplus)
    if missing and client.create_acls(missing)["failed"]:
        raise LocalError("Kafka refused an access right")


def _allow(
    user: str, operation: str, kind: ResourceType, name: str, *, prefix: bool = False
) -> ACL:
    pattern = ACLResourcePatternType.PREFIXED if prefix else ACLResourcePatternType.LITERAL
    return ACL(
        principal=f"User:{user}",
        host="*",
        operation=ACLOperation[operation],
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(kind, name, pattern),
    )


def _present(client: KafkaAdminClient) -> Sequence[ACL]:
    everything = ACLFilter(
        principal=None,
        host=None,
        operation=ACLOperation.ANY,
        permission_type=ACLPermissionType.ANY,
        resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
    )
    found, _ = client.describe_acls(everything)
    return list(found)


def make_topics(client: KafkaAdminClient, wanted: Sequence[Topic]) -> None:
    """Create what is missing; settings of an existing topic follow the schemas."""
    present = set(client.list_topics())
    missing = {
        topic.name: {
            "num_partitions": topic.partitions,
            "replication_factor": 1,
            "configs": _settings(topic),
        }
        for topic in wanted
        if topic.name not in present
    }
    if missing:
        client.create_topics(missing)
        client.wait_for_topics(list(missing))
    for topic in wanted:
        if topic.name in present:
            resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, _settings(topic))
            client.alter_configs([resource])


def remake_topics(client: KafkaAdminClient, wanted: Sequence[Topic]) -> None:
    """Delete the topics with all their records and create them empty; for tests."""
    present = set(client.list_topics())
    doomed = [topic.name for topic in wanted if topic.name in present]
    if doomed:
        client.delete_topics(doomed)
        while set(client.list_topics()) & set(doomed):
            time.sleep(0.02)
    make_topics(client, wanted)


def _settings(topic: Topic) -> dict[str, str]:
    return {"cleanup.policy": topic.cleanup_policy, "retention.ms": str(topic.retention_ms)}
