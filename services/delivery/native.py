"""What a recipient reads of a referral as one native document.

Pure. It guards that the document is made of what the grant let out, under the recipient's own ids,
and that no instant of the sender is finer than a day.
"""

from typing import Any

import orjson

from connectors.fhir_r4.outbound.content import Outgoing, meta
from connectors.sdk.types import Model


def document(out: Outgoing, version: int) -> bytes:
    """`{person, case, referral}` as JSON; absent stays absent."""
    due = out.response_due
    referral: dict[str, Any] = {
        "id": str(out.ids.task),
        "consent": str(out.ids.consent),
        "version": version,
        "from_org": out.source,
        "to_org": out.to_org,
        "purpose": out.purpose,
        "service_type": out.service_type,
        "priority": out.priority,
        "special_requirements": list(out.special_requirements),
        "data_categories": list(out.categories),
        "response_due": due.isoformat() if due is not None else None,
        "consent_until": out.consent_until.isoformat(),
        "security_labels": [label["code"] for label in meta(out)["security"]],
    }
    person = {
        "id": str(out.ids.patient),
        "pseudonym": out.pseudonym,
        **_said(out.release.person),
    }
    kept = {name: value for name, value in referral.items() if value not in (None, [])}
    return orjson.dumps({"person": person, "case": _said(out.release.case), "referral": kept})


def _said(part: Model) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_defaults=True)
