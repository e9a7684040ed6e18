"""What crosses topics and webhooks as an AsyncAPI 3.0 document, made from the `.avsc` attributes.

It guards that channels, keys, retention and schema ids are those that the relay and provisioning
use. Which topics a partner may read is decided by the broker's access lists, not here.
"""

import json
from typing import Any, Final

from connectors.webhook.mapping import ALLOWED
from schemas.avsc import released
from schemas.topics import EventType, Topic, event_types, topics

Json = dict[str, Any]
AVRO: Final = "application/vnd.apache.avro;version=1.9.0"
WEBHOOK_TYPES: Final = {
    "cauce.referral.sent": "A referral waits for the recipient at `href`",
    "cauce.referral.status_changed": "A referral of yours has another status",
    "cauce.referral.revoked": "A referral was taken back: stop, and answer the erasure request",
    "cauce.referral.answer_due": "A referral waits for an answer",
    "cauce.referral.data_changed": "What you read of a referral was put right: read it anew",
    "cauce.erasure.requested": "Delete what you received of a referral and say so",
    "cauce.directory.entry_changed": "A service of the directory has changed",
}
"""CloudEvents type → what it tells."""
_TEXT: Final = {"type": "string"}
_DATA: Final[Json] = {
    "capacity": {**_TEXT, "description": "Code of `capacity_status`"},
    "due": {**_TEXT, "format": "date"},
    "href": {**_TEXT, "format": "uri", "description": "Where the rest is read, with a token"},
    "id": {**_TEXT, "description": "The receiver's own id of what it is about"},
    "owed_by": {**_TEXT, "enum": ["recipient", "sender"]},
    "referral": {**_TEXT, "format": "uuid"},
    "stage": {**_TEXT, "description": "Code of `answer_stage`"},
    "status": _TEXT,
    "version": {"type": "integer", "minimum": 0},
}
"""Members of a webhook's `data`."""


def document(public_url: str, version: str) -> Json:
    """The whole document; the webhooks' server is the partner's own."""
    channels = {t.name: _topic(t) for t in topics()}
    operations = {f"publish.{e.type}": _publish(e) for e in event_types().values()}
    messages = {e.type: _message(e) for e in event_types().values()}
    messages |= {name: _note(name, text) for name, text in WEBHOOK_TYPES.items()}
    channels["webhook"] = {
        "address": None,
        "description": "The URL of the partner's record; Standard Webhooks, CloudEvents 1.0",
        "messages": {n: {"$ref": f"#/components/messages/{n}"} for n in WEBHOOK_TYPES},
        "servers": [{"$ref": "#/servers/partner"}],
    }
    operations["send.webhook"] = {
        "action": "send",
        "channel": {"$ref": "#/channels/webhook"},
        "summary": "Thin notices in order per subject; content is fetched with a token",
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Cauce events",
            "version": version,
            "description": f"Schemas by id: {public_url}/schemas/ids/{{id}}. No person's"
            " identity is on any topic; facts are sealed per case and purpose.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "kafka.example:9094",
                "protocol": "kafka-secure",
                "description": "Address and certificate come with the role `kafka`",
            },
            "partner": {
                "host": "partner.example",
                "protocol": "https",
                "description": "The partner's own webhook",
            },
        },
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def _topic(topic: Topic) -> Json:
    of_it = [e.type for e in event_types().values() if e.topic == topic.name]
    return {
        "address": topic.name,
        "description": f"Record key: `{topic.key}`; order holds within a key",
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in of_it},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": topic.cleanup_policy.split(","),
                    "retention.ms": topic.retention_ms,
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _publish(event: EventType) -> Json:
    channel = f"#/channels/{event.topic}"
    return {
        "action": "send",
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{event.type}"}],
        "summary": f"By {', '.join(event.owners)}",
    }


def _message(event: EventType) -> Json:
    latest = released()[event.record][-1]
    return {
        "name": event.type,
        "title": event.record,
        "summary": f"Registry id {event.schema_id}, version {latest.version}",
        "contentType": "avro/binary",
        "payload": {"schemaFormat": AVRO, "schema": json.loads(latest.text)},
        "headers": _headers(event.type),
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"`{event.key}`"},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "bindingVersion": "0.5.0",
            }
        },
    }


def _headers(name: str) -> Json:
    return {
        "type": "object",
        "description": "CloudEvents, binary mode",
        "properties": {
            "ce_specversion": {"const": "1.0"},
            "ce_id": {"type": "string", "format": "uuid"},
            "ce_type": {"const": name},
            "ce_source": {**_TEXT, "description": "`/cauce/` and the cell"},
            "traceparent": _TEXT,
        },
        "required": ["ce_specversion", "ce_id", "ce_type", "ce_source"],
    }


def _note(name: str, text: str) -> Json:
    return {
        "name": name,
        "summary": text,
        "contentType": "application/cloudevents+json",
        "headers": {
            "type": "object",
            "properties": {
                "webhook-id": {**_TEXT, "description": "Idempotency key; constant over retries"},
                "webhook-timestamp": _TEXT,
                "webhook-signature": _TEXT,
            },
            "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
        },
        "payload": _cloud_event(name),
    }


def _cloud_event(name: str) -> Json:
    return {
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": _TEXT,
            "source": _TEXT,
            "type": {"const": name},
            "time": {"type": "string", "format": "date-time"},
            "subject": {**_TEXT, "description": "The receiver's own id"},
            "data": {
                "type": "object",
                "properties": {m: _DATA[m] for m in sorted({"id", "href", *ALLOWED[name]})},
                "required": ["href", "id"],
                "additionalProperties": False,
            },
        },
        "required": ["specversion", "id", "source", "type", "data"],
    }
