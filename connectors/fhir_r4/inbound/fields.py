"""What FHIR calls the native fields that the rules name (`codes/fields.csv`).

Guards that a fault of a shared rule shows a path of the sender's own Bundle. A field without a row
is one that the reading of FHIR already checked: it shows the resource it comes from.
"""

import re

from connectors.fhir_r4.inbound.tables import pairs
from connectors.sdk.rules import FieldOf

INDEX = re.compile(r"\[([0-9]+)\]")
RESOURCE_OF = {"person": "Patient", "consent": "Consent", "referral": "Task"}


def field_of(narratives: list[tuple[str, str]]) -> FieldOf:
    """The FHIR path of a native one; `narratives` are (path, text) in their order."""

    def find(native: str) -> str:
        places = INDEX.findall(native)
        if native.startswith("case.narratives["):
            return narratives[int(places[0])][0]
        table = pairs("fields", "native", "fhir")
        pattern = INDEX.sub("[]", native)
        path = table.get(pattern) or table.get(pattern.removesuffix("[]"))
        if path is None:
            return RESOURCE_OF.get(native.partition(".")[0], "ServiceRequest")
        for place in places:
            path = path.replace("[]", f"[{place}]", 1)
        return path

    return find
