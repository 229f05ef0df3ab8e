"""The dashboard and the alerts: their queries parse, and name what /metrics has."""

import re

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families

from flannel_sdk.health.exposition import Exposition
from tests.deploy.queries import Selector, alerts, dashboard, expressions, panels, selectors
from tests.unit.health.statuses import STATUS

_ADDED = {"job", "instance"}
"""Labels that Prometheus adds to what it scrapes."""


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """The labels of each sample of /metrics, with all that it can tell."""
    body, _ = Exposition(lambda: STATUS).render("")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
def test_a_query_parses_and_reads_what_there_is(
    told: dict[str, set[str]], name: str, expression: str
) -> None:
    read = selectors(expression)
    assert read, f"{name} reads nothing"
    for metric, labels in read:
        assert metric in told, f"{name}: there is no metric {metric}"
        assert labels <= told[metric] | _ADDED, f"{name}: {metric} has no such labels"


def test_a_query_that_is_wrong_is_noticed() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        selectors("sum(flannel_sdk_peers")
    assert selectors('rate(a{b="c"}[5m]) / d') == [
        Selector("a", frozenset({"b"})),
        Selector("d", frozenset()),
    ]


def test_an_alert_says_what_is_wrong_where_and_what_to_do(told: dict[str, set[str]]) -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    for rule in alerts():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        promql_parser.parse_duration(rule.get("for", "1s"))
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["annotations"]["description"].endswith(".")
        known = _ADDED.union(*(told[metric] for metric, _ in selectors(rule["expr"])))
        named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert named <= known


def test_most_metrics_are_shown(told: dict[str, set[str]]) -> None:
    shown = {metric for _, query in expressions() for metric, _ in selectors(query)}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in told}
    ours = {name for name in families if name.startswith("flannel_sdk_")}
    unseen = ours - {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    assert unseen <= {"flannel_sdk_mtu_bytes", "flannel_sdk_event_loop_longest_delay_seconds"}


def test_panels_have_places_and_sources_of_their_own() -> None:
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels())
