"""The partners of a rig, entered straight into the registry: no crash run needs staff."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import orjson

from connectors.registry import manifests
from connectors.webhook import signing
from services.console.local import plan
from services.console.local.place import Place, make_folder, write_secret
from services.gateway.partners.domain import Known, read_file, record_of
from services.kit.crypto import jwk_of, new_es384_pem
from services.kit.settings import Settings
from tests.support.crash_clinic import CLINIC, Clinic

_ALWAYS = """
name = "{org}"
alias = "{alias}"
org_type = "{org_type}"
country = "COL"
roles = ["{role}"]
transport = "{transport}"
[agreement]
ref = "A-1"
from = {first}
to = {last}
erasure_days = 5
purposes = ["service_referral"]
categories = ["pseudonymous_core", "contact", "identity"]
"""
_CONNECTOR = """
[connector]
name = "fhir_r4"
base_url = "{url}/fhir"
token_url = "{url}/oauth/token"
answers = "patch"
mapping_version = 1

[[services]]
id = "refugio-sur-casa"
name = "Casa"
service_types = ["shelter_specialized"]
country = "COL"
languages = ["es"]
address_confidentiality = "secret"
"""


_HOOKED = """
[connector]
name = "fhir_r4"
base_url = "{base}/fhir"
token_url = "{base}/oauth/token"
answers = "patch"
mapping_version = 1

[[services]]
id = "{org}-casa"
name = "Consultorio"
service_types = ["shelter_specialized"]
country = "COL"
languages = ["es"]
address_confidentiality = "secret"
"""


def _hook(clinic: Clinic, org: str, *keys: bytes) -> str:
    written = json.dumps([signing.written("whpk_", key) for key in keys])
    return f'\n[webhook]\nurl = "{clinic.base}/in/{org}"\npublic_keys = {written}\n'


def partner_files(settings: Settings, clinic: Clinic) -> dict[str, str]:
    """The registration of each partner, as TOML."""
    today = datetime.now(UTC).date()
    dates = {"first": today - timedelta(days=2), "last": today + timedelta(days=30)}
    url = f"http://127.0.0.1:{settings.refugio_port}"
    norte = _ALWAYS.format(
        org=plan.ONG, alias="org-alfa", org_type="ngo", role="source", transport="pull", **dates
    )
    sur = _ALWAYS.format(
        org=plan.REFUGIO,
        alias="org-beta",
        org_type="shelter",
        role="recipient",
        transport="push",
        **dates,
    )
    hooked = _ALWAYS.format(
        org=CLINIC,
        alias="org-gamma",
        org_type="shelter",
        role="recipient",
        transport="webhook",
        **dates,
    )
    return {
        plan.ONG: f'org = "{plan.ONG}"{norte}service_types_out = ["shelter_specialized"]\n'
        + _hook(clinic, plan.ONG),
        CLINIC: f'org = "{CLINIC}"{hooked}service_types_in = ["shelter_specialized"]\n'
        + _hook(clinic, CLINIC, clinic.public)
        + _HOOKED.format(base=clinic.base, org=CLINIC),
        plan.REFUGIO: f'org = "{plan.REFUGIO}"{sur}service_types_in = ["shelter_specialized"]\n'
        + _CONNECTOR.format(url=url),
    }


def clinic_of(place: Place, settings: Settings) -> Clinic:
    """The partner with a webhook, with a key of its own."""
    home = plan.partner_home(place, CLINIC)
    make_folder(home, mode=0o700)
    pem = new_es384_pem()
    write_secret(home / "client.es384", pem.decode())
    (home / "jwks.json").write_text(json.dumps({"keys": [jwk_of(pem)]}), encoding="ascii")
    key = settings.secret("webhook.pub")
    return Clinic(hub=settings.public_url, key_file=home / "client.es384", hub_key=key)


def enter_partners(place: Place, settings: Settings, admin_dsn: str, clinic: Clinic) -> None:
    """All of them, active."""
    asyncio.run(_enter(place, settings, admin_dsn, clinic))


async def _enter(place: Place, settings: Settings, admin_dsn: str, clinic: Clinic) -> None:
    networks = settings.egress_private_networks
    known = Known(manifests=manifests(), private_networks=networks, entry_ids={})
    conn = await asyncpg.connect(admin_dsn)
    try:
        for org, text in partner_files(settings, clinic).items():
            found = read_file(text, _jwks(plan.partner_home(place, org)), known)
            assert found.table is not None, found.faults
            await conn.execute(
                "insert into gateway.partner (org, version, record) values ($1, 1, $2)",
                org,
                orjson.dumps(record_of(found.table, {}, uuid4)).decode(),
            )
    finally:
        await conn.close()


def _jwks(home: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((home / "jwks.json").read_text(encoding="ascii"))
    return found
