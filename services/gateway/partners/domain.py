"""A partner's record as the operator writes it (TOML) and as it is stored (`wire.md` §8).

Pure. It guards that a record is complete, that every code in it exists, and that its keys are public
ones that SMART allows. Who may register whom is `staff`'s; reading the record is `kit.partners`.
"""

import re
import tomllib
from datetime import date
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.codes import is_code
from services.kit.crypto import sha256, uuid4_from

ORG: Final = re.compile(r"[a-z][a-z0-9-]{2,31}")


class RecordError(ValueError):
    """What is wrong with a record, as `field: reason` lines for the operator."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def _codes(enum: str) -> AfterValidator:
    def check(values: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [value for value in values if not is_code(enum, value)]
        if wrong:
            raise ValueError(f"not in the list {enum}: {', '.join(wrong)}")
        return tuple(sorted(set(values)))

    return AfterValidator(check)


def _code(enum: str) -> AfterValidator:
    def check(value: str) -> str:
        if not is_code(enum, value):
            raise ValueError(f"not in the list {enum}")
        return value

    return AfterValidator(check)


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username:
        raise ValueError("not an http(s) address")
    return value.rstrip("/")


Country = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Url = Annotated[str, AfterValidator(_url)]
Org = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,31}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AgreementRecord(_Model):
    """The signed agreement."""

    ref: Annotated[str, Field(min_length=1, max_length=100)]
    valid_from: date
    valid_to: date
    purposes: Annotated[tuple[str, ...], _codes("purpose")]
    categories: Annotated[tuple[str, ...], _codes("data_category")]
    service_types_out: Annotated[tuple[str, ...], _codes("service_type")] = ()
    service_types_in: Annotated[tuple[str, ...], _codes("service_type")] = ()
    erasure_days: Annotated[int, Field(ge=1, le=365)] = 15
    transfer_mechanism: str | None = None


class ConnectorRecord(_Model):
    """How to reach the partner's system."""

    name: Literal["fhir_r4"]
    base_url: Url
    token_url: Url
    client_id: str
    answers: Literal["patch", "poll"] = "patch"
    mapping_version: int = 1


class ServiceRecord(_Model):
    """A directory entry; a secret one names no place."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,64}$")]
    entry_ref: UUID | None = None
    name: Annotated[str, Field(min_length=1, max_length=200)]
    service_types: Annotated[tuple[str, ...], _codes("service_type"), Field(min_length=1)]
    country: Country
    admin1: tuple[str, ...] = ()
    age_min: Annotated[int | None, Field(ge=0, le=120)] = None
    age_max: Annotated[int | None, Field(ge=0, le=120)] = None
    population_types: Annotated[tuple[str, ...], _codes("population_type")] = ()
    languages: tuple[str, ...] = ()
    capacity_status: Annotated[str, _code("capacity_status")] = "accepting"
    directory_status: Annotated[str, _code("directory_status")] = "active"
    address_confidentiality: Annotated[str, _code("address_confidentiality")] = "partners_only"
    response_time_hours: int | None = None

    @model_validator(mode="after")
    def _secret_has_no_place(self) -> "ServiceRecord":
        if self.address_confidentiality == "secret" and self.admin1:
            raise ValueError("a secret entry has no admin1")
        return self


class PartnerRecord(_Model):
    """A partner organisation."""

    org: Org
    name: Annotated[str, Field(min_length=1, max_length=200)]
    alias: Org
    org_type: Annotated[str, _code("org_type")]
    country: Country
    language: Literal["es", "en", "pt"] = "es"
    roles: Annotated[
        tuple[Literal["source", "recipient", "prosecutor", "kafka"], ...], Field(min_length=1)
    ]
    agreement: AgreementRecord
    connector: ConnectorRecord | None = None
    jwks: dict[str, Any]
    transport: Literal["push", "pull", "webhook"] = "push"
    requests_per_minute: Annotated[int | None, Field(ge=1)] = None
    concurrency: Annotated[int | None, Field(ge=1, le=256)] = None
    labels: tuple[str, ...] = ()
    services: tuple[ServiceRecord, ...] = ()
    status: Literal["active", "suspended"] = "active"

    @model_validator(mode="after")
    def _whole(self) -> "PartnerRecord":
        if "recipient" in self.roles and self.transport == "push" and self.connector is None:
            raise ValueError("a recipient that is pushed to needs a connector")
        if self.agreement.valid_to < self.agreement.valid_from:
            raise ValueError("agreement: valid_to is before valid_from")
        if len({one.id for one in self.services}) < len(self.services):
            raise ValueError("services: an id occurs twice")
        _check_jwks(self.jwks)
        return self


def _check_jwks(jwks: dict[str, Any]) -> None:
    keys = jwks.get("keys")
    if not isinstance(keys, list) or not keys:
        raise ValueError("jwks: no keys")
    for key in keys:
        if not isinstance(key, dict) or not isinstance(key.get("kid"), str):
            raise ValueError("jwks: a key without kid")
        if "d" in key or key.get("kty") not in ("EC", "RSA"):
            raise ValueError("jwks: public EC (P-384) or RSA keys only")


def parse(text: str, jwks: dict[str, Any] | None = None) -> PartnerRecord:
    """The record in a TOML text; `jwks` when the keys stand in a file of their own."""
    try:
        fields = tomllib.loads(text)
        if jwks is not None:
            fields = {**fields, "jwks": jwks}
        return PartnerRecord.model_validate(fields)
    except tomllib.TOMLDecodeError as error:
        raise RecordError([f"not TOML: {error}"]) from None
    except ValidationError as error:
        raise RecordError(
            [
                f"{'.'.join(str(part) for part in one['loc']) or 'record'}: {one['msg']}"
                for one in error.errors(include_input=False, include_url=False)
            ]
        ) from None


def stored(record: PartnerRecord) -> dict[str, Any]:
    """The record as the table holds it and `kit.partners` reads it."""
    plain = record.model_dump(mode="json")
    del plain["org"]
    for service in plain["services"]:
        if service["entry_ref"] is None:
            service["entry_ref"] = str(entry_ref(record.org, service["id"]))
    return plain


def entry_ref(org: str, entry_id: str) -> UUID:
    """The reference of a directory entry that was given none: always the same."""
    return uuid4_from(sha256(f"entry\0{org}\0{entry_id}".encode()))
