"""Settings of every process, read once from the environment; refuses what it does not know.

Secrets are named files (0600) in `secrets_dir`, never values here.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

PREFIX = "CAUCE_"
OF_THE_COMMAND_LINE = frozenset(
    {"CAUCE_RUN", "CAUCE_CACHE", "CAUCE_STAFF_ID", "CAUCE_STAFF_KEY", "CAUCE_ADMIN_URL"}
)
"""Read by the command line alone: where an installation lives and where downloads are kept; who
the person at it is, their key file, and the admin port they speak to."""


class SettingsError(Exception):
    """A setting is unknown or malformed; the text names it and never its value."""


def is_public_origin(url: str) -> bool:
    """Whether strangers could reach the host of `url`: a global address or a dotted name."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".localhost", ".local", ".internal", ".test"))


class Settings(BaseModel):
    """One frozen set for all services; the variable is `CAUCE_` + the upper-case name."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    cell: str = "cell-demo"
    country: str = "COL"
    time_zone: str = "America/Bogota"
    canonical_base: str = "https://cauce.example/fhir"
    public_url: str = "http://127.0.0.1:8080"
    public_host: str = "127.0.0.1"
    public_port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    vault_admin_port: int = 8082
    vault_url: str = "unix:.run/vault.sock"
    database_host: str = "127.0.0.1"
    database_port: int = 15432
    database_name: str = "cauce"
    vault_database_name: str = "cauce_vault"
    kafka_bootstrap: str = "127.0.0.1:19092"
    kafka_security: Literal["SASL_PLAINTEXT", "SASL_SSL"] = "SASL_PLAINTEXT"
    secrets_dir: Path = Path(".run/secrets")
    vault_keys_dir: Path = Path(".run/vault-keys")
    egress_private_networks: str = ""
    checkpoint_seconds: float = 60.0
    checkpoint_leaves: int = 1000
    epoch_hours: float = 24.0
    delivery_concurrency: int = 128
    partner_concurrency: int = 64
    window_ms: int = 8
    call_seconds: float = 2.0
    poll_seconds: float = 5.0
    people_per_minute: int = 60000
    partner_requests_per_minute: int = 60000
    erasure_days_default: int = 15
    # After so many days the capacity of a service is shown as stale: places that are counted
    # change daily; an open door seldom; a shut one is too often forgotten.
    capacity_counted_days: int = 3
    capacity_open_days: int = 30
    capacity_closed_days: int = 14
    # The installation on one machine that `cauce up` makes.
    kafka_controller_port: int = 19093
    refugio_port: int = 8091
    ong_port: int = 8092
    clinica_port: int = 8093

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read `CAUCE_*`; an unknown or malformed one is refused by name."""
        values = {
            key.removeprefix(PREFIX).lower(): value
            for key, value in environment.items()
            if key.startswith(PREFIX) and key not in OF_THE_COMMAND_LINE
        }
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = PREFIX + str(first["loc"][0]).upper()
            raise SettingsError(f"setting {name}: {first['msg']}") from None
        settings.check()
        return settings

    def check(self) -> None:
        """Raise SettingsError for values that are each right and together dangerous."""
        if self.egress_private_networks and is_public_origin(self.public_url):
            raise SettingsError(
                "setting CAUCE_EGRESS_PRIVATE_NETWORKS: a hub with a public origin"
                " (CAUCE_PUBLIC_URL) calls no partner in a private network"
            )

    def to_environment(self) -> dict[str, str]:
        """The variables that give this very set back; folders are made absolute."""
        return {
            PREFIX + name.upper(): str(value.absolute() if isinstance(value, Path) else value)
            for name, value in self
        }

    def secret(self, name: str) -> bytes:
        """The bytes of the named secret file."""
        return (self.secrets_dir / name).read_bytes()
