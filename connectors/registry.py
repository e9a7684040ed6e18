"""The connectors there are: every folder beside this file that has a `manifest.toml`.

Guards that a manifest names its own folder. It imports no connector: who needs one imports it.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from connectors.sdk.manifest import Manifest


@cache
def manifests() -> Mapping[str, Manifest]:
    """Every connector's manifest by name; ValueError for one that does not name its folder."""
    found: dict[str, Manifest] = {}
    for folder in sorted(files("connectors").iterdir(), key=lambda entry: entry.name):
        path = folder / "manifest.toml"
        if folder.is_dir() and path.is_file():
            manifest = Manifest.parse(path.read_text(encoding="utf-8"))
            if manifest.name != folder.name:
                raise ValueError(f"connectors/{folder.name}: manifest names another folder")
            found[manifest.name] = manifest
    return MappingProxyType(found)
