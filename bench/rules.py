"""Pure parts by themselves: the consent decision and the custody tree."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from services.consent.domain import evaluate
from services.custody import tree
from services.kit.ports.consent import ConsentRecord, ConsentRule, Decision, Question

ORGS = ("refugio-sur", "clinica-norte", "defensa-legal", "casa-este")
CATEGORIES = ("pseudonymous_core", "contact", "health", "family")


def decisions(now: datetime, timed: int = 100_000, again: int = 1_000_000) -> dict[str, float]:
    """p50 and p99 of one decision over 4 records of 4 rules; past decisions evaluated again."""
    records = [record(now, n) for n in range(4)]
    questions = [_question(records[0].case_ref, org) for org in ORGS]

    def decide(n: int) -> Decision:
        return evaluate(records, questions[n % 4], now, version=4, key_version=1)

    times = []
    for n in range(timed):
        begun = time.perf_counter_ns()
        decide(n)
        times.append(time.perf_counter_ns() - begun)
    times.sort()
    recorded = [decide(n) for n in range(4)]
    start = time.perf_counter()
    same = sum(decide(n) == recorded[n % 4] for n in range(again))
    taken = time.perf_counter() - start
    if same != again:
        raise RuntimeError("a decision evaluated again differs")
    return {
        "p50_us": times[timed // 2] / 1000,
        "p99_us": times[int(timed * 0.99)] / 1000,
        "again_per_second": again / taken,
        "million_again_seconds": taken * 1_000_000 / again,
    }


def record(now: datetime, n: int) -> ConsentRecord:
    """A live consent: three permits and a deny."""
    rules = [_permit(now, org) for org in ORGS[:3]]
    deny = replace(rules[0], decision="deny", purpose=None, to_org=None, to_kind="police")
    return ConsentRecord(
        consent_ref=UUID(int=n + 1),
        case_ref=UUID(int=7),
        source_org="ong-norte",
        status="given",
        legal_basis="consent",
        reason_code=None,
        approver_ref=None,
        notice="referral-notice/1",
        language="es",
        form="written_signature",
        giver="self",
        assent=None,
        given_at=now - timedelta(days=1),
        valid_from=now - timedelta(days=1),
        valid_to=now + timedelta(days=90 + n),
        version=1,
        rules=(*rules, deny),
    )


def _permit(now: datetime, org: str) -> ConsentRule:
    return ConsentRule(
        decision="permit",
        purpose="service_referral",
        to_org=org,
        to_kind=None,
        data_categories=CATEGORIES,
        valid_from=now - timedelta(days=1),
        valid_to=now + timedelta(days=60),
    )


def _question(case_ref: UUID, org: str) -> Question:
    return Question(
        case_ref=case_ref,
        to_org=org,
        to_kind="shelter",
        purpose="service_referral",
        categories=CATEGORIES[:2],
        overlay=None,
    )


def custody(leaves: int = 1_000_000, proofs: int = 1_000) -> dict[str, float]:
    """Append, inclusion proof and its verification in a tree of that many leaves, µs each."""
    hashes = [tree.leaf_hash(n.to_bytes(8, "big")) for n in range(leaves)]
    nodes: dict[tree.Place, bytes] = {}
    begun = time.perf_counter()
    for start in range(0, leaves, 1000):
        edge = {place: nodes[place] for place in tree.edge_places(start)}
        nodes |= tree.append(start, edge, hashes[start : start + 1000])
    append = time.perf_counter() - begun
    root = tree.root(leaves, nodes.__getitem__)
    random = Random(1)  # noqa: S311 -- the same leaves in every run
    chosen = [random.randrange(leaves) for _ in range(proofs)]
    paths: list[list[bytes]] = []
    prove = _each(proofs, lambda: paths.extend(_proof(n, leaves, nodes) for n in chosen))
    good: list[bool] = []
    verify = _each(
        proofs,
        lambda: good.extend(
            tree.verify_inclusion(hashes[n], n, leaves, path, root)
            for n, path in zip(chosen, paths, strict=True)
        ),
    )
    if not all(good):
        raise RuntimeError("a proof does not verify")
    return {
        "leaves": leaves,
        "append_us": append / leaves * 1e6,
        "proof_us": prove,
        "verify_us": verify,
    }


def _proof(index: int, size: int, nodes: dict[tree.Place, bytes]) -> list[bytes]:
    return tree.proof(tree.inclusion_ranges(index, size), nodes.__getitem__)


def _each(count: int, work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) / count * 1e6


def measure() -> dict[str, Any]:
    """Both."""
    return {"decision": decisions(datetime.now(UTC)), "custody": custody()}
