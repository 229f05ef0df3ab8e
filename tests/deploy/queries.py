"""The queries of the dashboard and of the alerts, and the metrics and labels that they name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
_INTERVAL = "$__rate_interval"


class Selector(NamedTuple):
    """One metric that a query reads."""

    metric: str
    labels: frozenset[str]
    """Those that it is chosen by."""


def alerts() -> list[dict[str, Any]]:
    """The alerting rules."""
    document = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
    assert list(document) == ["groups"]
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    read: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text("utf-8"))
    return read


def panels() -> list[dict[str, Any]]:
    """Its panels that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """The name and the query of each alert and panel."""
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace(_INTERVAL, "5m")


def selectors(expression: str) -> list[Selector]:
    """What a query reads; ValueError where Prometheus could not parse it."""
    found: list[Selector] = []

    def visit(part: promql_parser.Expr) -> None:
        if isinstance(part, promql_parser.VectorSelector):
            labels = frozenset(matcher.name for matcher in part.matchers.matchers)
            found.append(Selector(part.name or "", labels))

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found
