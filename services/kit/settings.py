"""Settings of every process, read once from the environment. Secrets are named files, never values here."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """One frozen set for all services; the environment variable is `CAUCE_` + the upper-case name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str = "cell-demo"
    country: str = "COL"
    time_zone: str = "America/Bogota"
    public_url: str = "http://127.0.0.1:8080"
    public_host: str = "127.0.0.1"
    public_port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    vault_admin_port: int = 8082
    vault_url: str = "unix:.run/vault.sock"
    database_host: str = "127.0.0.1"
    database_port: int = 5432
    database_name: str = "cauce"
    vault_database_name: str = "cauce_vault"
    kafka_bootstrap: str = "127.0.0.1:9092"
    secrets_dir: Path = Path(".run/secrets")
    vault_keys_dir: Path = Path(".run/vault-keys")
    egress_private_networks: str = ""
    checkpoint_seconds: float = 60.0
    checkpoint_leaves: int = 1000
    epoch_hours: float = 24.0
    delivery_concurrency: int = 128
    partner_concurrency: int = 32
    window_ms: int = 5
    call_seconds: float = 2.0
    poll_seconds: float = 5.0
    people_per_minute: int = 60000
    partner_requests_per_minute: int = 60000
    erasure_days_default: int = 15

    @classmethod
    def from_environment(cls, environment: dict[str, str]) -> Self:
        """Read `CAUCE_*`; an unknown or malformed one is refused by name."""
        values = {
            key.removeprefix("CAUCE_").lower(): value
            for key, value in environment.items()
            if key.startswith("CAUCE_")
        }
        return cls.model_validate(values)

    def secret(self, name: str) -> bytes:
        """The bytes of the named secret file."""
        return (self.secrets_dir / name).read_bytes()
