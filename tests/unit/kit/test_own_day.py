"""Days as instants: never after what a recipient is shown of the same day."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from services.kit.aliases import own_day, own_instant

BOGOTA = ZoneInfo("America/Bogota")
INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_a_day_is_its_first_instant_in_the_cell() -> None:
    at = datetime(2026, 11, 25, 3, tzinfo=UTC)
    assert own_day(at, BOGOTA).isoformat() == "2026-11-24T00:00:00-05:00"


@given(INSTANTS, st.uuids())
def test_it_is_never_after_the_instant_that_a_recipient_sees(at: datetime, ref: UUID) -> None:
    day = own_day(at, BOGOTA)
    assert day <= own_instant(b"k" * 32, ref, 1, "refugio-sur", at)
    assert at - day < timedelta(days=1, hours=2)
