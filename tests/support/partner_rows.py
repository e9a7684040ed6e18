"""Partner records of tests, and how they get into the registry."""

from typing import Any

import asyncpg
import orjson

CATEGORIES = ("contact", "pseudonymous_core")


def partner(org: str, base_url: str, **changed: Any) -> dict[str, Any]:
    """A partner record as the gateway stores it."""
    service_types = ["shelter_temporary"]
    record: dict[str, Any] = {
        "name": org.title(),
        "alias": f"socio-{len(org)}",
        "org_type": "shelter",
        "country": "COL",
        "language": "es",
        "roles": ["recipient"],
        "agreement": {
            "ref": "AG-1",
            "valid_from": "2020-01-01",
            "valid_to": "2040-01-01",
            "purposes": ["service_referral"],
            "categories": list(CATEGORIES),
            "service_types_out": service_types,
            "service_types_in": service_types,
            "erasure_days": 15,
            "transfer_mechanism": None,
        },
        "connector": {
            "name": "fhir_r4",
            "base_url": f"{base_url}/fhir",
            "token_url": f"{base_url}/oauth/token",
            "client_id": "cauce",
            "answers": "poll",
            "mapping_version": 1,
        },
        "jwks": {"keys": []},
        "transport": "push",
        "requests_per_minute": None,
        "concurrency": None,
        "labels": [],
        "status": "active",
        "services": [],
    }
    return record | changed


async def register(admin: asyncpg.Connection, org: str, record: dict[str, Any]) -> None:
    await admin.execute(
        "insert into gateway.partner (org, version, record) values ($1, 1, $2) on conflict (org)"
        " do update set record = excluded.record, version = gateway.partner.version + 1",
        org,
        orjson.dumps(record).decode(),
    )
