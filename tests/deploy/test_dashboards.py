"""The dashboards ask for metrics and labels that exist, in panels that Grafana can place."""

import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.money import NanoUSD
from app.telemetry.metrics import BudgetLevel, Standing
from deploy.verify_dashboard import DASHBOARDS, Expression, expressions, filled
from tests.telemetry.results import metrics

COLUMNS = 24
DASHBOARD_FILES = sorted(DASHBOARDS.glob("*.json"))
EXPRESSIONS = list(expressions())


def labels_by_name() -> Mapping[str, set[str]]:
    """Every series name that can be asked for, and its labels."""
    made = metrics()
    # These alone have no series before they are used.
    made.http_requests.labels("GET", "/healthz", "200").inc()
    nothing = NanoUSD(0)
    level = BudgetLevel(None, "tenant", "day", nothing, nothing, nothing, used=0.0)
    made.stand(Standing(inflight=0, holds=nothing, orphans=0, budgets=(level,)))
    return {
        sample.name: set(sample.labels)
        for family in made.registry.collect()
        for sample in family.samples
    }


LABELS = labels_by_name()


def named(expression: Expression) -> str:
    """For a test's id."""
    return f"{expression.panel}-{expression.ref}"


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=named)
def test_an_expression_asks_for_metrics_that_exist(expression: Expression) -> None:
    """By the names, and the labels, of telemetry/metrics.py."""
    asked = re.findall(r"\b(fathom_\w+)(?:\{([^}]*)\})?", expression.text)
    assert asked
    for name, selector in asked:
        assert name in LABELS
        assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= LABELS[name]
    for group in re.findall(r"\bby \(([^)]*)\)", expression.text):
        wanted = {label.strip() for label in group.split(",")}
        assert all(wanted <= LABELS[name] for name, _ in asked)


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=named)
def test_an_expression_is_whole_once_grafana_has_filled_it(expression: Expression) -> None:
    """Only variables that are known, and brackets that close."""
    known = {"__range": "1h", "__rate_interval": "1m", "tenant": ".*"}
    text = filled(expression.text, known)
    assert "$" not in text
    for opening, closing in ("()", "[]", "{}"):
        assert text.count(opening) == text.count(closing)


def test_a_counter_is_never_shown_raw() -> None:
    """It falls to nothing when a replica starts anew; its increase does not."""
    for expression in EXPRESSIONS:
        for name in re.findall(r"fathom_\w+_total", expression.text):
            assert re.search(rf"(rate|increase)\({name}", expression.text)


@pytest.mark.parametrize("path", DASHBOARD_FILES, ids=lambda path: path.stem)
class TestDashboard:
    def load(self, path: Path) -> dict[str, Any]:
        dashboard: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return dashboard

    def test_panels_fit_side_by_side(self, path: Path) -> None:
        """Within the grid, and over nobody else's place."""
        panels = self.load(path)["panels"]
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            at = panel["gridPos"]
            assert at["x"] + at["w"] <= COLUMNS
            columns = range(at["x"], at["x"] + at["w"])
            cells = set(itertools.product(columns, range(at["y"], at["y"] + at["h"])))
            assert not cells & taken, panel["title"]
            taken |= cells
        assert len({panel["id"] for panel in panels}) == len(panels)

    def test_panels_take_the_data_source_that_is_chosen(self, path: Path) -> None:
        """A dashboard that names a source of its author works for its author only."""
        dashboard = self.load(path)
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        assert variables == {"datasource", "tenant"}
        chosen = {"type": "prometheus", "uid": "${datasource}"}
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                targets = panel["targets"]
                assert panel["datasource"] == chosen
                assert all(target["datasource"] == chosen for target in targets)
                assert len({target["refId"] for target in targets}) == len(targets)
                assert panel["description"]

    def test_it_can_be_provisioned(self, path: Path) -> None:
        """With a name of its own, and without an id, which Grafana gives."""
        dashboard = self.load(path)
        assert re.fullmatch(r"[\w-]{1,40}", dashboard["uid"])
        assert dashboard["title"]
        assert dashboard["schemaVersion"] >= 39
        assert "id" not in dashboard
