"""The demo world of an installation: four people in two organisations, two partners.

It guards nothing that the hub does not guard itself: everything goes over the admin port, by the
bootstrap secret once and then by the people's own keys, so that no way around exists. Running it
again changes nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.console.client import WHO_FILE, CallError, Client, Who, call
from services.console.local import plan
from services.console.local.place import Place, make_folder, write_secret
from services.kit.crypto import jwk_of, new_es384_pem
from services.kit.entry import DAYS
from services.kit.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Person:
    """An invented person who operates the demo."""

    staff_id: str
    organisation: str
    roles: tuple[str, ...]


PEOPLE: Final = (
    Person(
        staff_id="operator-norte",
        organisation="red-andina",
        roles=("operator", "coordinator", "data_protection_officer"),
    ),
    Person(
        staff_id="officer-norte",
        organisation="red-andina",
        roles=("coordinator", "protection_officer", "assembler"),
    ),
    Person(
        staff_id="operator-sur",
        organisation="observatorio-sur",
        roles=("operator", "coordinator"),
    ),
    Person(
        staff_id="officer-sur",
        organisation="observatorio-sur",
        roles=("protection_officer", "data_protection_officer", "lawyer", "signer"),
    ),
)
"""The first is the first operator; the third activates what the first proposes."""
PROPOSES, ACTIVATES = PEOPLE[0], PEOPLE[2]

_PURPOSES: Final = (
    "case_management",
    "service_referral",
    "family_tracing",
    "legal_assistance",
    "international_protection",
    "emergency",
    "statistics",
)
_CATEGORIES: Final = (
    "pseudonymous_core",
    "identity",
    "contact",
    "health",
    "family",
    "child_data",
    "exploitation_details",
    "sexual_violence",
    "migration_status",
    "experience_narrative",
    "evidence",
    "location_precise",
)
_SERVICES: Final = (
    "shelter_specialized",
    "shelter_temporary",
    "psychosocial",
    "mental_health",
    "health_medical",
    "legal_counsel",
    "case_management",
    "child_protection",
    "gbv_services",
    "food",
)

_HEALTH: Final = ("health_medical", "mental_health", "psychosocial")

_HOURS: Final = '[services.opening_hours]\ntime_zone = "America/Bogota"\n' + "".join(
    f'[[services.opening_hours.weekly]]\nday = "{day}"\nopens = "00:00"\ncloses = "24:00"\n'
    for day in DAYS
)
"""A house that is always open."""


def make_world(place: Place, settings: Settings) -> dict[str, Client]:
    """Register people and partners that are not there yet; clients of the people by their id."""
    clients = make_people(place, settings)
    proposer, activator = clients[PROPOSES.staff_id], clients[ACTIVATES.staff_id]
    known = {p["org"]: p for p in proposer.get("/admin/partners")["partners"]}
    clinic = clinic_file(settings, plan.clinic_key(place))
    for org, toml in {**partner_files(settings), plan.CLINICA: clinic}.items():
        home = plan.partner_home(place, org)
        (home / "partner.toml").write_text(toml, encoding="utf-8")
        if org in known and known[org]["version"] > 0:
            continue
        jwks = json.loads((home / "jwks.json").read_text(encoding="ascii"))
        add_partner(proposer, activator, toml, jwks)
    return clients


def add_partner(
    proposer: Client, activator: Client, toml: str, jwks: Mapping[str, Any]
) -> dict[str, Any]:
    """Propose as one person, activate as another."""
    proposed = proposer.post("/admin/partners", {"toml": toml, "jwks": dict(jwks)})
    path = f"/admin/partners/{proposed['org']}/activation"
    return activator.post(path, {"pending_digest": proposed["pending_digest"]})


def make_people(place: Place, settings: Settings) -> dict[str, Client]:
    """Keys under `staff/` of the place, and a registration for each."""
    folder = place.root / "staff"
    make_folder(folder, mode=0o700)
    clients: dict[str, Client] = {}
    for person in PEOPLE:
        path = folder / f"{person.staff_id}.pem"
        if not path.exists():
            write_secret(path, new_es384_pem().decode())
        clients[person.staff_id] = Client(
            Who(
                staff_id=person.staff_id,
                key=path,
                admin_url=admin_url(settings),
                cell=settings.cell,
            )
        )
    first = PEOPLE[0]
    _register_first(place, settings, first)
    for person in PEOPLE[1:]:
        _register(clients[first.staff_id], place, person)
    _write_who(place, settings, first)
    return clients


def admin_url(settings: Settings) -> str:
    """Address of the admin port as this machine reaches it."""
    host = "127.0.0.1" if settings.admin_host == "0.0.0.0" else settings.admin_host
    return f"http://{host}:{settings.admin_port}"


def _body(place: Place, person: Person) -> dict[str, Any]:
    pem = (place.root / "staff" / f"{person.staff_id}.pem").read_bytes()
    return {
        "staff_id": person.staff_id,
        "organisation": person.organisation,
        "roles": list(person.roles),
        "jwk": jwk_of(pem),
    }


def _register_first(place: Place, settings: Settings, person: Person) -> None:
    secret = place.secret("staff-bootstrap")
    try:
        call(
            admin_url(settings),
            "POST",
            "/admin/staff",
            _body(place, person),
            f"Bootstrap {secret}",
        )
    except CallError as error:
        if error.code != "bootstrap-over":
            raise


def _register(operator: Client, place: Place, person: Person) -> None:
    try:
        operator.post("/admin/staff", _body(place, person))
    except CallError as error:
        if error.code != "staff-exists":
            raise


def _write_who(place: Place, settings: Settings, person: Person) -> None:
    """So that `cauce` without further settings acts as the first demo person."""
    folder = place.root / "staff"
    who = {
        "staff_id": person.staff_id,
        "key": str(folder / f"{person.staff_id}.pem"),
        "admin_url": admin_url(settings),
        "cell": settings.cell,
    }
    (folder / WHO_FILE).write_text(json.dumps(who, indent=2), encoding="utf-8")


def partner_files(settings: Settings) -> dict[str, str]:
    """The records of the sandbox partners as TOML."""
    refugio = f"http://127.0.0.1:{settings.refugio_port}"
    return {
        plan.ONG: _head(plan.ONG, "ONG Norte", "entidad-remitente-3", "ngo", ("source",), "pull")
        + _agreement("CV-2026-01", out=_SERVICES, into=()),
        plan.REFUGIO: _head(
            plan.REFUGIO, "Refugio Sur", "entidad-receptora-5", "shelter", ("recipient",), "push"
        )
        + _agreement("CV-2026-02", out=(), into=_SERVICES)
        + f"""
[connector]
name = "fhir_r4"
base_url = "{refugio}/fhir"
token_url = "{refugio}/oauth/token"
client_id = "cauce"
answers = "patch"
mapping_version = 1

[[services]]
id = "refugio-sur-casa"
name = "Casa de acogida"
service_types = {json.dumps(_SERVICES)}
country = "COL"
languages = ["es", "en"]
capacity_status = "accepting"
capacity_free = 12
directory_status = "active"
address_confidentiality = "secret"
response_time_hours = 24
accepts_children_with_adult = true
gender_approach = true
specialised_in = ["trafficking", "gbv"]
intake_channels = ["hub", "phone"]
assured_date = 2026-01-15
{_HOURS}
""",
    }


def clinic_file(settings: Settings, public_key: str) -> str:
    """The record of the clinic, which takes webhooks and refers by the native JSON."""
    roles = ("source", "recipient")
    head = _head(
        plan.CLINICA, "Clínica Demo", "entidad-receptora-7", "health_provider", roles, "webhook"
    )
    return (
        head
        + _agreement("CV-2026-03", out=_SERVICES, into=_HEALTH)
        + f"""
[webhook]
url = "http://127.0.0.1:{settings.clinica_port}/hooks/cauce"
scheme = "v1a"
public_keys = ["{public_key}"]

[[services]]
id = "clinica-demo-consulta"
name = "Consulta externa"
service_types = {json.dumps(_HEALTH)}
country = "COL"
languages = ["es"]
capacity_status = "accepting"
directory_status = "active"
address_confidentiality = "public"
admin1 = ["CO-ANT"]
response_time_hours = 48
gender_approach = true
specialised_in = ["trafficking"]
intake_channels = ["hub"]
assured_date = 2026-01-15
{_HOURS}
"""
    )


def _head(
    org: str, name: str, alias: str, org_type: str, roles: tuple[str, ...], transport: str
) -> str:
    return f"""org = "{org}"
name = "{name}"
alias = "{alias}"
org_type = "{org_type}"
country = "COL"
language = "es"
roles = {json.dumps(roles)}
transport = "{transport}"
labels = ["CPLYCD", "DELAU"]
"""


def _agreement(ref: str, *, out: tuple[str, ...], into: tuple[str, ...]) -> str:
    return f"""
[agreement]
ref = "{ref}"
from = 2026-01-01
to = 2035-12-31
purposes = {json.dumps(_PURPOSES)}
categories = {json.dumps(_CATEGORIES)}
service_types_out = {json.dumps(out)}
service_types_in = {json.dumps(into)}
erasure_days = 15
"""
