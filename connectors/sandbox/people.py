"""Invented people for samples: names put together at random, numbers that are not given out."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

GIVEN = ("Aurelia", "Benita", "Casilda", "Domitila", "Eulalia", "Fermina", "Gumersinda", "Herminia")
FAMILY = ("Quintalba", "Rosmarín", "Salvatierra", "Tolmares", "Urdaniel", "Velasmar", "Yarumeda")
TOWNS = ("Villa Serena", "Puerto Almendro", "San Telmo del Llano", "Aguas Mansas")


@dataclass(frozen=True)
class SamplePerson:
    """An invented person; the fields are what the Bundle says of her."""

    number: str
    given: str
    family: str
    birth_date: str = "1998-04-12"
    gender: str = "female"
    phone: str = "+57 000 5550100"
    town: str = "Villa Serena"
    country: str = "COL"
    admin1: str = "CO-ANT"
    nationality: str = "VEN"
    language: str = "es"


def person(seed: int) -> SamplePerson:
    """The invented person of a seed, always the same."""
    random = Random(seed)  # noqa: S311 -- variety, not secrecy
    born = datetime(1966, 1, 1, tzinfo=UTC) + timedelta(days=random.randrange(14_000))
    return SamplePerson(
        number=f"ZZ{seed:08d}",
        given=f"{random.choice(GIVEN)} {random.choice(GIVEN)}",
        family=f"{random.choice(FAMILY)} {random.choice(FAMILY)}",
        birth_date=born.date().isoformat(),
        gender=random.choice(("female", "male")),
        phone=f"+57 000 {random.randrange(10_000_000):07d}",
        town=random.choice(TOWNS),
    )
