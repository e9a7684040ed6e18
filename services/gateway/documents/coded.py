"""Which fields of our models hold a code of which list, told where the field is described."""

from collections.abc import Mapping
from typing import Any, Final

from schemas.codes import code_lists

Json = dict[str, Any]
_OTHERWISE: Final[Mapping[tuple[str, str], str]] = {
    ("CommandBody", "outcome"): "referral_outcome",
    ("CommandBody", "reason_code"): "referral_reason_code",
    ("CommandData", "outcome"): "referral_outcome",
    ("CommandData", "reason_code"): "referral_reason_code",
    ("Consent", "assent"): "assent_status",
    ("Consent", "form"): "consent_form",
    ("ConsentItem", "to_kind"): "org_type",
    ("EffectBody", "effect"): "withdrawal_effect",
    ("EffectData", "effect"): "withdrawal_effect",
    ("EntryBody", "population_served"): "sex_age_group",
    ("EntryBody", "specialised_in"): "service_specialisation",
    ("ReferralView", "outcome"): "referral_outcome",
    ("ReferralView", "reason_code"): "referral_reason_code",
    ("ReferralView", "status"): "referral_status",
}
"""Fields that are not called like their list."""
_OWN: Final = frozenset({("Relative", "sex")})
"""Fields that are called like a list and hold other codes."""


def coded(models: Json) -> Json:
    """The schemas of models, each coded field with the name of its list."""
    for model, schema in models.items():
        for name, of in schema.get("properties", {}).items():
            found = list_of(model, name)
            if found is not None:
                of.setdefault("description", f"Code of `{found}` (GET /v1/codelists/{found})")
    return models


def list_of(model: str, name: str) -> str | None:
    """The code list of a field; None where it has none of ours."""
    if (model, name) in _OWN:
        return None
    one = name.removesuffix("s")
    names = (_OTHERWISE.get((model, name), name), one, f"{one.removesuffix('ie')}y")
    return next((n for n in names if n in code_lists()), None)
