"""A directory entry as its readers see it: native JSON and FHIR HealthcareService. Pure.

It guards that a secret service shows no place below its country on either surface, and that a
capacity too old to rely on says so wherever it is shown.
"""

from datetime import UTC, datetime
from typing import Any, Final

from connectors.fhir_r4.outbound.content import present, system
from schemas.codes import Lang, label
from services.kit.entry import DAYS, MIDNIGHT, Address, Entry, Hours, Limits

Resource = dict[str, Any]
LANGUAGES: Final = "urn:ietf:bcp:47"
REFERRAL_METHODS: Final = "http://terminology.hl7.org/CodeSystem/service-referral-method"
_METHODS: Final = {"hub": "elf", "phone": "phone"}
"""Our channels in the value set of HealthcareService.referralMethod, where it has them."""
_FULL_DAY: Final = ("00:00", MIDNIGHT)


def native(entry: Entry, now: datetime, limits: Limits) -> Resource:
    """The entry as `EntryView`."""
    said, hours = entry.capacity_updated_at, entry.opening_hours
    return {
        "id": entry.id,
        "org": entry.org,
        "version": entry.version,
        "name": entry.name,
        "service_types": sorted(entry.service_types),
        "country": entry.country,
        "admin1": [] if entry.is_secret else list(entry.admin1),
        "age_min": entry.age_min,
        "age_max": entry.age_max,
        "population_types": sorted(entry.population_types),
        "population_served": sorted(entry.population_served),
        "languages": list(entry.languages),
        "capacity_status": entry.capacity_status,
        "capacity_free": entry.capacity_free,
        "capacity_updated_at": said.astimezone(UTC).isoformat() if said else None,
        "stale": entry.is_stale(now, limits),
        "opening_hours": None if hours is None else _hours(hours),
        "open_now": None if hours is None else hours.open_at(now),
        "accepts_children_with_adult": entry.accepts_children_with_adult,
        "gender_approach": entry.gender_approach,
        "specialised_in": sorted(entry.specialised_in),
        "intake_channels": list(entry.intake_channels),
        "response_time_hours": entry.response_time_hours,
        "directory_status": entry.directory_status,
        "address_confidentiality": entry.address_confidentiality,
        "address": None if entry.is_secret or not entry.address else _address(entry.address),
        "assured_date": entry.assured_date.isoformat() if entry.assured_date else None,
    }


def _hours(hours: Hours) -> Resource:
    return {
        "time_zone": hours.time_zone,
        "weekly": [{"day": i.day, "opens": i.opens, "closes": i.closes} for i in hours.weekly],
        "exceptions": [
            {"from": c.first.isoformat(), "to": c.last.isoformat()} for c in hours.exceptions
        ],
    }


def _address(address: Address) -> Resource:
    return {
        "lines": list(address.lines),
        "city": address.city,
        "postal_code": address.postal_code,
    }


def healthcare_service(
    base: str, entry: Entry, lang: Lang, now: datetime, limits: Limits
) -> Resource:
    """The entry as HealthcareService."""
    address = None if entry.is_secret else entry.address
    areas = () if entry.is_secret else entry.admin1
    hours = entry.opening_hours
    return present(
        {
            "resourceType": "HealthcareService",
            "id": entry.id,
            "meta": {"versionId": str(entry.version)},
            "contained": [_location(entry, address)] if address else [],
            "extension": _extensions(base, entry, now, limits),
            "active": entry.directory_status == "active",
            "providedBy": {"reference": f"Organization/{entry.org}"},
            "type": [_coded(base, "service_type", c, lang) for c in sorted(entry.service_types)],
            "location": [{"reference": "#place"}] if address else [],
            "name": entry.name,
            "coverageArea": [{"display": code} for code in areas],
            "eligibility": _eligibility(base, entry, lang),
            "program": [
                _coded(base, "service_specialisation", code, lang)
                for code in sorted(entry.specialised_in)
            ],
            "characteristic": _characteristics(base, entry),
            "communication": [
                {"coding": [{"system": LANGUAGES, "code": code}]} for code in entry.languages
            ],
            "referralMethod": [_method(base, c, lang) for c in entry.intake_channels],
            "availableTime": [] if hours is None else _available(hours),
            "notAvailable": [] if hours is None else _not_available(hours),
        }
    )


def _coded(base: str, enum: str, code: str, lang: Lang) -> Resource:
    coding = [{"system": system(base, enum), "code": code}]
    return {"coding": coding, "text": label(enum, code, lang)}


def _location(entry: Entry, address: Address) -> Resource:
    place = present(
        {
            "line": list(address.lines),
            "city": address.city,
            "postalCode": address.postal_code,
            "country": entry.country,
        }
    )
    return {"resourceType": "Location", "id": "place", "address": place}


def _extensions(base: str, entry: Entry, now: datetime, limits: Limits) -> list[Resource]:
    """What HealthcareService has no element for."""
    said, hours = entry.capacity_updated_at, entry.opening_hours
    values: list[tuple[str, str, Any]] = [
        ("capacity-status", "valueCode", entry.capacity_status),
        ("capacity-stale", "valueBoolean", entry.is_stale(now, limits)),
        ("service-country", "valueCode", entry.country),
        ("capacity-free", "valueUnsignedInt", entry.capacity_free),
        ("capacity-updated", "valueInstant", _instant(said) if said else None),
        ("response-hours", "valuePositiveInt", entry.response_time_hours),
        ("address-confidentiality", "valueCode", entry.address_confidentiality),
        ("assured", "valueDate", entry.assured_date.isoformat() if entry.assured_date else None),
        ("hours-zone", "valueCode", hours.time_zone if hours else None),
    ]
    return [
        {"url": f"{base}/StructureDefinition/{name}", kind: value}
        for name, kind, value in values
        if value is not None
    ]


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _eligibility(base: str, entry: Entry, lang: Lang) -> list[Resource]:
    """Whom it takes: populations, sex and age groups, ages as a range of years."""
    found = [
        {"code": _coded(base, enum, code, lang)}
        for enum, codes in (
            ("population_type", entry.population_types),
            ("sex_age_group", entry.population_served),
        )
        for code in sorted(codes)
    ]
    if entry.age_min is None and entry.age_max is None:
        return found
    ages = {
        name: {
            "value": years,
            "unit": "a",
            "system": "http://unitsofmeasure.org",
            "code": "a",
        }
        for name, years in (("low", entry.age_min), ("high", entry.age_max))
        if years is not None
    }
    kind = {"coding": [{"system": system(base, "eligibility"), "code": "age"}]}
    extension = {"url": f"{base}/StructureDefinition/age-range", "valueRange": ages}
    return [*found, {"extension": [extension], "code": kind}]


def _characteristics(base: str, entry: Entry) -> list[Resource]:
    facts = {
        "gender-approach": entry.gender_approach,
        "children-with-adult": entry.accepts_children_with_adult,
    }
    at = system(base, "service_characteristic")
    return [{"coding": [{"system": at, "code": code}]} for code, true in facts.items() if true]


def _method(base: str, channel: str, lang: Lang) -> Resource:
    found = _coded(base, "intake_channel", channel, lang)
    if channel in _METHODS:
        found["coding"].append({"system": REFERRAL_METHODS, "code": _METHODS[channel]})
    return found


def _available(hours: Hours) -> list[Resource]:
    """One element for each interval, with all days that have it."""
    days: dict[tuple[str, str], list[str]] = {}
    for one in hours.weekly:
        days.setdefault((one.opens, one.closes), []).append(one.day)
    return [
        {"daysOfWeek": sorted(on, key=DAYS.index), **_between(interval)}
        for interval, on in sorted(days.items())
    ]


def _between(interval: tuple[str, str]) -> Resource:
    if interval == _FULL_DAY:
        return {"allDay": True}
    opens, closes = interval
    end = "23:59:59" if closes == MIDNIGHT else f"{closes}:00"
    return {"availableStartTime": f"{opens}:00", "availableEndTime": end}


def _not_available(hours: Hours) -> list[Resource]:
    return [
        {
            "description": f"{c.first.isoformat()} – {c.last.isoformat()}",
            "during": {"start": c.first.isoformat(), "end": c.last.isoformat()},
        }
        for c in hours.exceptions
    ]
