"""A partner's TOML file as a checked record. Pure.

It guards that a record holds only fields and codes we know, public keys only, and an address that
the hub may call; every fault is named by its place and rule, never by its value. Who may propose
and activate it is the admin port's; reading it later is `kit.partners`.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.sdk.egress import check_url, private_networks
from connectors.sdk.errors import Refuse
from connectors.sdk.manifest import Manifest
from connectors.webhook.signing import SigningError, key_bytes
from schemas.codes import is_code
from services.gateway.admin.faults import FieldFault
from services.gateway.directory.models import EntryBody
from services.gateway.directory.rules import entry_faults
from services.kit.crypto import CryptoError, check_public_jwk

Org = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,31}$")]
Name = Annotated[str, Field(min_length=1, max_length=120)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
Codes = Annotated[tuple[str, ...], Field(max_length=64)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=False)


class AgreementTable(_Table):
    """`[agreement]`: both days are included."""

    ref: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$")]
    valid_from: date = Field(alias="from")
    valid_to: date = Field(alias="to")
    purposes: Codes = ()
    categories: Codes = ()
    service_types_out: Codes = ()
    service_types_in: Codes = ()
    erasure_days: Annotated[int, Field(ge=1, le=90)] = 15
    transfer_mechanism: Annotated[str, Field(pattern=r"^[a-z][a-z_]{2,39}$")] | None = None


class ConnectorTable(_Table):
    """`[connector]`: the partner's system; empty addresses where it only calls us."""

    name: str
    base_url: str = ""
    token_url: str = ""
    client_id: Annotated[str, Field(min_length=1, max_length=64)] = "cauce"
    answers: Literal["patch", "poll"] = "patch"
    mapping_version: int = 1
    scope: Annotated[str, Field(max_length=256, pattern=r"^[ -~]*$")] = ""


class WebhookTable(_Table):
    """`[webhook]`: where webhooks go; a shared secret is a named file and never here."""

    url: Annotated[str, Field(min_length=1, max_length=512)]
    scheme: Literal["v1a", "v1"] = "v1a"
    public_keys: Annotated[tuple[str, ...], Field(max_length=4)] = ()


class ServiceTable(EntryBody):
    """`[[services]]`: an entry of the directory, as its owner may write it later."""

    id: Id


class PartnerTable(_Table):
    """The whole file."""

    org: Org
    name: Name
    alias: Org
    org_type: str
    country: Country
    language: Language = "es"
    roles: Annotated[
        tuple[Literal["source", "recipient", "prosecutor", "kafka"], ...], Field(min_length=1)
    ]
    transport: Literal["push", "pull", "webhook"] = "push"
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=256)] | None = None
    labels: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Z]{1,16}$")], ...], Field()] = ()
    agreement: AgreementTable
    connector: ConnectorTable | None = None
    webhook: WebhookTable | None = None
    jwks: Mapping[str, Any] = Field(default_factory=dict)
    services: Annotated[tuple[ServiceTable, ...], Field(max_length=200)] = ()


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a file is checked against."""

    manifests: Mapping[str, Manifest]
    private_networks: str
    entry_ids: Mapping[str, str]
    """Id of each directory entry there is → organisation it belongs to."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """The table, or why there is none."""

    table: PartnerTable | None
    faults: Sequence[FieldFault] = field(default=())


_ENUMS: Final = (
    ("agreement.purposes", "purpose"),
    ("agreement.categories", "data_category"),
    ("agreement.service_types_out", "service_type"),
    ("agreement.service_types_in", "service_type"),
)
_ENTRY_RULES: Final = {
    "not-in-list": "code",
    "secret-place": "secret-has-no-place",
    "age-order": "below-age-min",
}
"""Rules of an entry that have another name in a partner's file."""
_PLACE: Final = re.compile(r"[a-z_0-9]{1,40}")


def read_file(text: str, jwks: object, known: Known) -> Read:
    """A partner file; `jwks` given apart takes the place of one in the text."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return Read(table=None, faults=[FieldFault("", "toml")])
    if jwks is not None:
        content["jwks"] = jwks
    try:
        table = PartnerTable.model_validate(content)
    except ValidationError as error:
        return Read(table=None, faults=list(_of_pydantic(error)))
    faults = [
        *_unmapped(table),
        *_agreement_faults(table.agreement),
        *_key_faults(table.jwks),
        *_connector_faults(table, known),
        *_webhook_faults(table, known),
        *_entry_faults(table, known),
    ]
    return Read(table=None if faults else table, faults=faults)


def _of_pydantic(error: ValidationError) -> Iterator[FieldFault]:
    for one in error.errors(include_input=False, include_url=False, include_context=False):
        place = ".".join(_part(step) for step in one["loc"])
        yield FieldFault(place, one["type"].replace("_", "-"))


def _part(step: str | int) -> str:
    """A step of a place: a field of ours or a number; a name we do not know is not repeated."""
    return str(step) if isinstance(step, int) or _PLACE.fullmatch(step) else "?"


def _unmapped(table: PartnerTable) -> Iterator[FieldFault]:
    """Codes that are in none of our lists."""
    if not is_code("org_type", table.org_type):
        yield FieldFault("org_type", "code")
    for place, enum in _ENUMS:
        values = getattr(table.agreement, place.partition(".")[2])
        yield from _wrong_codes(place, enum, values)


def _wrong_codes(place: str, enum: str, values: Sequence[str]) -> Iterator[FieldFault]:
    for number, value in enumerate(values):
        if not is_code(enum, value):
            yield FieldFault(f"{place}.{number}", "code")


def _agreement_faults(agreement: AgreementTable) -> Iterator[FieldFault]:
    if agreement.valid_to < agreement.valid_from:
        yield FieldFault("agreement.to", "before-from")


def _key_faults(jwks: Mapping[str, Any]) -> Iterator[FieldFault]:
    keys = jwks.get("keys")
    if not isinstance(keys, list) or not keys or set(jwks) != {"keys"}:
        yield FieldFault("jwks.keys", "required")
        return
    seen: set[object] = set()
    for number, jwk in enumerate(keys):
        place = f"jwks.keys.{number}"
        if not isinstance(jwk, dict):
            yield FieldFault(place, "object")
            continue
        try:
            check_public_jwk(jwk)
        except CryptoError as error:
            yield FieldFault(place, error.rule)
        if jwk.get("kid") in seen:
            yield FieldFault(place, "kid-repeated")
        seen.add(jwk.get("kid"))


def _connector_faults(table: PartnerTable, known: Known) -> Iterator[FieldFault]:
    connector = table.connector
    if connector is None:
        if "recipient" in table.roles and table.transport == "push":
            yield FieldFault("connector", "required")
        return
    manifest = known.manifests.get(connector.name)
    if manifest is None:
        yield FieldFault("connector.name", "code")
        return
    if connector.mapping_version != manifest.mapping_version:
        yield FieldFault("connector.mapping_version", "unknown")
    called = table.transport == "push" or connector.answers == "poll"
    for name in ("base_url", "token_url"):
        value = getattr(connector, name)
        if value:
            yield from _address_faults(f"connector.{name}", value, known)
        elif called and "recipient" in table.roles:
            yield FieldFault(f"connector.{name}", "required")


def _webhook_faults(table: PartnerTable, known: Known) -> Iterator[FieldFault]:
    hook = table.webhook
    if hook is None:
        if table.transport == "webhook":
            yield FieldFault("webhook", "required")
        return
    yield from _address_faults("webhook.url", hook.url, known)
    for number, key in enumerate(hook.public_keys):
        try:
            key_bytes(key, "whpk_")
        except SigningError as error:
            yield FieldFault(f"webhook.public_keys.{number}", error.rule)


def _address_faults(place: str, url: str, known: Known) -> Iterator[FieldFault]:
    try:
        check_url(url, private_networks(known.private_networks))
    except Refuse:
        yield FieldFault(place, "address-not-allowed")


def _entry_faults(table: PartnerTable, known: Known) -> Iterator[FieldFault]:
    seen: set[str] = set()
    for number, entry in enumerate(table.services):
        place = f"services.{number}"
        if known.entry_ids.get(entry.id, table.org) != table.org or entry.id in seen:
            yield FieldFault(f"{place}.id", "taken")
        seen.add(entry.id)
        for fault in entry_faults(entry):
            at = fault.field.replace("[", ".").replace("]", "")
            yield FieldFault(f"{place}.{at}", _ENTRY_RULES.get(fault.rule, fault.rule))


def record_of(
    table: PartnerTable, entry_refs: Mapping[str, UUID], new_ref: Callable[[], UUID]
) -> dict[str, Any]:
    """The record that `kit.partners.read_partner` reads; entries keep the reference they have."""
    record = table.model_dump(mode="json", exclude={"org", "services"})
    services = [
        {**entry.record(), "entry_ref": str(entry_refs.get(entry.id) or new_ref())}
        for entry in table.services
    ]
    return {**record, "services": services, "status": "active"}


def proposed_view(record: Mapping[str, Any], at: datetime | None = None) -> dict[str, Any]:
    """A record as people see it: key ids for keys."""
    shown = {name: value for name, value in record.items() if name != "jwks"}
    shown["kids"] = [key.get("kid") for key in record.get("jwks", {}).get("keys", ())]
    return shown if at is None else {**shown, "at": at.isoformat()}
