import re

import pytest

from services.kit.metrics import METRICS, Metrics


def test_an_unknown_metric_or_label_is_an_error() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.inc("cauce_unheard_of_total")
    with pytest.raises(KeyError):
        metrics.inc("cauce_decisions_total", rule="default-deny")


def test_label_values_outside_the_list_are_counted_as_other() -> None:
    metrics = Metrics()
    metrics.inc("cauce_events_handled_total", consumer="Ximena", result="handled")
    metrics.inc("cauce_deliveries_total", outcome="Ximena Canario")
    metrics.inc("cauce_deliveries_total", outcome="case-1032456789")
    text = metrics.text().decode()
    assert "imena" not in text
    assert "1032456789" not in text
    assert 'outcome="other"} 2.0' in text


def test_codes_are_taken_up_to_a_number() -> None:
    metrics = Metrics()
    for one in "abcdefghijklmnopqrstuvwxyz":
        for two in "abcdef":
            metrics.inc("cauce_deliveries_total", outcome=one + two)
    values = set(re.findall(r'cauce_deliveries_total{outcome="(\w+)"}', metrics.text().decode()))
    assert len(values) == 65
    assert "other" in values


def test_every_name_is_ours_and_counters_end_in_total() -> None:
    for metric in METRICS:
        assert metric.name.startswith("cauce_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.help.endswith(".")


def test_a_counter_kept_elsewhere_is_brought_to_its_total_and_never_falls() -> None:
    metrics, name = Metrics(), "cauce_referrals_closed_total"

    def told() -> list[str]:
        return re.findall(name + r'{result="answered"} (\S+)', metrics.text().decode())

    seen = []
    for total in (7, 7, 9, 8):
        metrics.reach(name, total, result="answered")
        seen += told()
    assert seen == ["7.0", "7.0", "9.0", "9.0"]
    metrics.clear(name)
    assert told() == []
    metrics.reach(name, 12, result="answered")
    assert told() == ["12.0"]
