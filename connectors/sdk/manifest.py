"""What a connector says of itself in `manifest.toml`, read without importing its code."""

import tomllib
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict


class Setting(BaseModel):
    """One setting of a partner; a `secret` one is a named file, never a value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    help: str
    required: bool
    secret: bool = False


class Manifest(BaseModel):
    """Name (= folder), directions, transports, mapping version and settings of a connector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    standard: str
    owner: str
    directions: tuple[Literal["inbound", "outbound"], ...]
    transport: tuple[Literal["push", "pull", "poll", "webhook"], ...]
    mapping_version: int
    settings: Mapping[str, Setting] = {}

    @classmethod
    def parse(cls, text: str) -> Self:
        """The manifest in a TOML text; ValueError where it is not one."""
        return cls.model_validate(tomllib.loads(text))

    def missing_settings(self, given: Mapping[str, str]) -> tuple[str, ...]:
        """Names of required settings that are not given."""
        wanted = (name for name, setting in self.settings.items() if setting.required)
        return tuple(sorted(name for name in wanted if name not in given))

    def unknown_settings(self, given: Mapping[str, str]) -> tuple[str, ...]:
        """Names of given settings that the connector does not know."""
        return tuple(sorted(set(given) - set(self.settings)))
