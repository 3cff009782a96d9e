#!/usr/bin/env python3
"""Ask a Prometheus for every expression of the dashboards, and show what each one returns.

    python deploy/verify_dashboard.py http://127.0.0.1:9090 [--range 1h] [--rate-interval 1m]

Grafana's variables are filled in as it would fill them for all tenants. Exits 1 when an expression
returns nothing, or nothing but NaN. Standard library only.
"""

import argparse
import json
import math
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DASHBOARDS: Final = Path(__file__).parent / "grafana" / "dashboards"
TIMEOUT_S: Final = 10
SERIES_SHOWN_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Expression:
    """One query of one panel."""

    dashboard: str
    panel: str
    ref: str
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A series that answered, and its value."""

    labels: Mapping[str, str]
    value: float


def expressions(folder: Path = DASHBOARDS) -> Iterator[Expression]:
    """Every expression of every dashboard."""
    for path in sorted(folder.glob("*.json")):
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            for target in panel.get("targets", []):
                yield Expression(path.stem, panel["title"], target["refId"], target["expr"])


def filled(expression: str, variables: Mapping[str, str]) -> str:
    """The expression with Grafana's variables replaced."""
    for name, value in variables.items():
        expression = expression.replace(f"${name}", value)
    return expression


def ask(url: str, expression: str) -> list[Sample]:
    """What Prometheus says of it now. Raises OSError when there is no answer."""
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(  # noqa: S310 - the address is the operator's own
        f"{url.rstrip('/')}/api/v1/query?{query}", timeout=TIMEOUT_S
    ) as response:
        found: list[dict[str, Any]] = json.load(response)["data"]["result"]
    return [Sample(series["metric"], float(series["value"][1])) for series in found]


def _shown(samples: list[Sample]) -> str:
    told = [
        ",".join(f"{name}={value}" for name, value in sample.labels.items())
        + f" {sample.value:.6g}"
        for sample in samples[:SERIES_SHOWN_MAX]
    ]
    more = len(samples) - len(told)
    return "; ".join(told).strip() + (f"; and {more} more" if more else "")


def main() -> None:
    """Ask, show, and say whether every expression had data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--range", default="1h", help="$__range: what a stat panel looks back on")
    parser.add_argument("--rate-interval", default="1m", help="$__rate_interval")
    chosen = parser.parse_args()
    variables = {
        "__range": chosen.range,
        "__rate_interval": chosen.rate_interval,
        "tenant": ".*",
    }
    empty = 0
    for expression in expressions():
        samples = ask(chosen.url, filled(expression.text, variables))
        good = any(not math.isnan(sample.value) for sample in samples)
        empty += not good
        sys.stdout.write(
            f"{'ok   ' if good else 'EMPTY'} {expression.panel} [{expression.ref}]\n"
            f"      {expression.text}\n      = {_shown(samples)}\n"
        )
    sys.exit(1 if empty else 0)


if __name__ == "__main__":
    main()
