"""The table that people read, made of the same figures as the JSON."""

from collections.abc import Iterator
from typing import Any

from bench.paths import TOLD, WEBHOOK

Row = tuple[str, str, str]


def table(result: dict[str, Any]) -> str:
    """What was measured, the figure, the goal."""
    rows = [*_path(result), *_webhook(result), *_parts(result), *_pure(result), *_memory(result)]
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(f"{name:<{width}}  {value:>14}  {goal}" for name, value, goal in rows)


def _path(result: dict[str, Any]) -> Iterator[Row]:
    runs = [run["rate"] for run in result["sustained"]]
    best = max(result["sustained"], key=lambda run: float(run["rate"]))
    yield "referrals FHIR to FHIR, sustained", f"{max(runs):.0f}/s", ">= 200/s"
    if len(runs) > 1:
        yield "  all runs", " ".join(f"{rate:.0f}" for rate in runs), ""
    yield (
        "  doubled, not answered",
        f"{best['doubled']}, {best['lost']}",
        "0",
    )
    for run in result["half_load"]:
        rate = run["plan"]["rate"]
        for name, ms in run["ms"].items():
            text = f"{ms['p50']:.0f} / {ms['p99']:.0f} ms" if ms else "none"
            goal = "p99 <= 500 ms at 100/s" if name == "stored_by_partner" else ""
            yield f"at {rate:.0f}/s: {name.replace('_', ' ')}, p50 / p99", text, goal


def _webhook(result: dict[str, Any]) -> Iterator[Row]:
    for way, what in ((WEBHOOK, "fetched and accepted"), (TOLD, "webhook taken")):
        best = max(result[way.name], key=lambda run: float(run["rate"]))
        name = f"referrals native to webhook, {what}"
        yield name, f"{best['rate']:.0f}/s", ">= 500/s"
        yield "  doubled, lost", f"{best['doubled']}, {best['lost']}", "0"
        yield "  CPU per referral", f"{best['cpu']['ms_per_referral_all']:.2f} ms", ""


def _parts(result: dict[str, Any]) -> Iterator[Row]:
    best = max(result["sustained"], key=lambda run: float(run["rate"]))
    shares = best["cpu"]
    for name, value in sorted(shares["ms_per_referral"].items(), key=lambda item: -item[1]):
        yield f"CPU per referral: {name}", f"{value:.2f} ms", ""
    yield "CPU per referral: all", f"{shares['ms_per_referral_all']:.2f} ms", ""
    commits = best["transactions_per_referral"]
    yield "transactions per referral", f"{commits:.1f}" if commits else "none", ""
    yield "  explains of the busy time", f"{shares['explained']:.0%}", ">= 90%"
    yield "  cores busy", f"{shares['busy_cores']:.2f}", ""


def _pure(result: dict[str, Any]) -> Iterator[Row]:
    events, decision, custody = result["events"], result["decision"], result["custody"]
    yield "event path", f"{events['path_per_second']:.0f}/s", ""
    yield "  bare loop", f"{events['bare_per_second']:.0f}/s", ""
    yield "  ratio", f"{events['ratio']:.0%}", ">= 25%"
    yield "  ratio by the client's CPU", f"{events['cpu_ratio']:.0%}", ""
    yield "consent decision, p99", f"{decision['p99_us']:.0f} µs", "<= 1000 µs"
    yield "10^6 decisions again", f"{decision['million_again_seconds']:.0f} s", "< 60 s"
    yield "custody append (10^6 leaves)", f"{custody['append_us']:.1f} µs", "<= 50 µs"
    yield "custody proof", f"{custody['proof_us']:.0f} µs", "<= 5000 µs"
    yield "custody verify", f"{custody['verify_us']:.0f} µs", "<= 1000 µs"


def _memory(result: dict[str, Any]) -> Iterator[Row]:
    memory = result["memory_mb"]
    for name, value in memory.items():
        yield f"memory: {name}", f"{value:.0f} MB", ""
    yield "memory: vault + hub", f"{memory['vault'] + memory['hub']:.0f} MB", "<= 400 MB"
