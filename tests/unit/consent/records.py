"""Consent records for tests: small builders and Hypothesis strategies over few values."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st

from services.kit.ports.consent import ConsentRecord, ConsentRule, Question

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CASE = UUID("00000000-0000-4000-8000-00000000000a")
ORGS = ("refugio-sur", "clinica-norte")
KINDS = {"refugio-sur": "shelter", "clinica-norte": "health_provider"}
PURPOSES = ("service_referral", "legal_assistance")
CATEGORIES = ("pseudonymous_core", "contact", "health")


def day(n: int) -> datetime:
    return NOW + timedelta(days=n)


def permit(
    to_org: str = "refugio-sur",
    purpose: str = "service_referral",
    categories: tuple[str, ...] = CATEGORIES,
    *,
    start: int = -1,
    end: int = 30,
) -> ConsentRule:
    return ConsentRule(
        decision="permit",
        purpose=purpose,
        to_org=to_org,
        to_kind=None,
        data_categories=categories,
        valid_from=day(start),
        valid_to=day(end),
    )


def deny(
    to_org: str | None = None,
    to_kind: str | None = None,
    purpose: str | None = None,
    categories: tuple[str, ...] = (),
    *,
    end: int = 30,
) -> ConsentRule:
    return ConsentRule(
        decision="deny",
        purpose=purpose,
        to_org=to_org,
        to_kind=to_kind,
        data_categories=categories,
        valid_from=day(-1),
        valid_to=day(end),
    )


def record(
    *rules: ConsentRule,
    ref: int = 1,
    status: str = "given",
    basis: str = "consent",
    start: int = -1,
    end: int = 60,
    case: UUID = CASE,
) -> ConsentRecord:
    return ConsentRecord(
        consent_ref=UUID(int=ref),
        case_ref=case,
        source_org="ong-norte",
        status=status,
        legal_basis=basis,
        reason_code=None if basis == "consent" else "threat-to-life",
        approver_ref=None if basis == "consent" else "staff-7",
        notice="aviso-1",
        language="es",
        form="written_signature",
        giver="self",
        assent=None,
        given_at=day(-1),
        valid_from=day(start),
        valid_to=day(end),
        version=1,
        rules=rules,
    )


def question(
    to_org: str = "refugio-sur",
    purpose: str = "service_referral",
    categories: tuple[str, ...] = CATEGORIES,
    overlay: ConsentRecord | None = None,
) -> Question:
    return Question(
        case_ref=CASE,
        to_org=to_org,
        to_kind=KINDS[to_org],
        purpose=purpose,
        categories=categories,
        overlay=overlay,
    )


_categories = st.lists(st.sampled_from(CATEGORIES), unique=True).map(tuple)
_days = st.integers(min_value=-3, max_value=4)

permits = st.builds(
    lambda org, purpose, cats, start, length: permit(
        org, purpose, cats, start=start, end=start + length
    ),
    st.sampled_from(ORGS),
    st.sampled_from(PURPOSES),
    st.lists(st.sampled_from(CATEGORIES), unique=True, min_size=1).map(tuple),
    _days,
    st.integers(min_value=1, max_value=5),
)
denies = st.one_of(
    st.builds(
        lambda org, purpose, cats, end: deny(org, None, purpose, cats, end=end),
        st.sampled_from(ORGS),
        st.sampled_from((None, *PURPOSES)),
        _categories,
        _days,
    ),
    st.builds(
        lambda kind, cats, end: deny(None, kind, None, cats, end=end),
        st.sampled_from(sorted(KINDS.values())),
        _categories,
        _days,
    ),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[ConsentRecord, ...]:
    """Live records of one case, each with its own reference."""
    many = draw(st.lists(st.lists(permits | denies, min_size=1, max_size=4), max_size=3))
    return tuple(
        replace(
            record(*rules, ref=n + 1, start=-3, end=draw(st.integers(1, 6))),
            status=draw(st.sampled_from(("given", "renewed"))),
        )
        for n, rules in enumerate(many)
    )


questions = st.builds(
    question,
    st.sampled_from(ORGS),
    st.sampled_from(PURPOSES),
    _categories,
)
