"""Wiring of the directory: its routes for partners and for people, and its background work."""

from services.kit.entry import Limits
from services.kit.settings import Settings


def limits_of(settings: Settings) -> Limits:
    """How long the capacity of an entry is good for."""
    return Limits(
        counted=settings.capacity_counted_days,
        open=settings.capacity_open_days,
        closed=settings.capacity_closed_days,
    )
