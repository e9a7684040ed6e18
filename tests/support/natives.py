"""Native twins of FHIR samples: the submission that a Bundle becomes, as native JSON."""

from datetime import UTC, datetime
from typing import Any

from connectors.fhir_r4.mapping import Context, to_submission
from connectors.sandbox.samples import BASE


def twin(bundle: dict[str, Any], org: str = "ong-norte", now: datetime | None = None) -> Any:
    """The native JSON that says what the Bundle says, without what follows from the rest."""
    context = Context(org, now or datetime.now(UTC), "America/Bogota", BASE)
    found = to_submission(bundle, context).submission
    said: dict[str, Any] = found.model_dump(mode="json", exclude_defaults=True)
    said["referral"].pop("data_categories", None)
    said["person"].pop("age_band", None)
    said["person"].pop("is_minor", None)
    for item in said["consent"].get("items", ()):
        for name in ("valid_from", "valid_to"):
            if item.get(name) == said["consent"].get(name):
                item.pop(name, None)
    return said
