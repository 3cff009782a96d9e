"""The report as one HTML page that needs nothing else: tables, and a curve a pair as inline SVG."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from app.evaluation.figures import Curve

WIDTH: Final = 560
HEIGHT: Final = 320
MARGIN: Final = 44
TOP: Final = 1.2
"""Share of the gap at the upper edge."""
COLOURS: Final = ("#0b6e4f", "#8d99ae", "#d17a22", "#4361ee", "#c1121f")

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "svg{width:100%;height:auto}"
)


def page(
    pairs: Mapping[str, Mapping[str, Any]],
    curves: Mapping[str, Mapping[str, Curve]],
    searches: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """HTML of the report's pairs and searches; `curves` by pair and policy."""
    parts = [_section(name, figures, curves[name]) for name, figures in pairs.items()]
    parts += [_search(name, figures) for name, figures in (searches or {}).items()]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>The gate, replayed</title>'
        f"<style>{_STYLE}</style><h1>The gate, replayed on recorded outputs</h1>"
        "<p>Cost is a share of always calling the strong arm; the gap is what that gains over "
        f"always accepting the cheap answer. Intervals hold 90 %.</p>{''.join(parts)}</html>\n"
    )


def _section(name: str, figures: Mapping[str, Any], curves: Mapping[str, Curve]) -> str:
    rows = [_policy("gate", figures)]
    rows += [_policy(rival, found) for rival, found in figures["rivals"].items()]
    said = (
        f"{figures['problems']} problems; cheap {figures['cheap_accuracy']:.3f} right at "
        f"{figures['cheap_cost']:.3f} of the cost, strong {figures['strong_accuracy']:.3f}. "
        f"P(cheap right): AUROC {figures['auroc']:.3f}, ECE {figures['ece']:.3f}; shuffled labels "
        f"{figures['controls']['shuffled_labels_auroc']:.3f}."
    )
    return (
        f"<h2>{escape(name)}</h2><p>{escape(said)}</p>{_plot(curves)}"
        "<table><tr><th>policy<th>cost to recover 50 %<th>80 %<th>95 %<th>gap at 3x cheap"
        f"{''.join(rows)}</table>"
    )


def _search(name: str, figures: Mapping[str, Any]) -> str:
    cost = figures["cost_to_keep_95"]
    said = (
        f"{figures['problems']} problems; the first answer right "
        f"{figures['first_accuracy']:.3f} at {figures['first_cost']:.3f} of always-search's cost, "
        f"a search {figures['search_accuracy']:.3f}. 95 % of always-search's accuracy at "
        f"{cost['value']:.3f} ({cost['low']:.2f}-{cost['high']:.2f}) of its cost; P(search solves) "
        f"where the first answer failed: AUROC {figures['auroc']:.3f}."
    )
    return f"<h2>{escape(name)}: is a search worth beginning?</h2><p>{escape(said)}</p>"


def _policy(name: str, figures: Mapping[str, Any]) -> str:
    costs = figures.get("cost_to_recover")
    if costs is None:
        return f'<tr><td>{escape(name)}<td colspan="4">{escape(figures["no_gap"])}'
    cells = [
        f"{cost['value']:.3f} ({cost['low']:.2f}-{cost['high']:.2f})" for cost in costs.values()
    ]
    cells.append(f"{figures['gap_recovered_at']['3']:.2f}")
    return f"<tr><td>{escape(name)}" + "".join(f"<td>{cell}" for cell in cells)


def _plot(curves: Mapping[str, Curve]) -> str:
    right, bottom = WIDTH - MARGIN, HEIGHT - MARGIN
    lines = [
        f'<path d="M{MARGIN} {MARGIN / 4}V{bottom}H{right}" fill="none" stroke="#333"/>',
        f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end">cost</text>',
        f'<text x="{MARGIN + 6}" y="{MARGIN / 2}">share of the gap recovered</text>',
    ]
    for share in (0.25, 0.5, 0.75, 1.0):
        x, y = _place(share, share)
        lines.append(f'<text x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{share}</text>')
        lines.append(f'<text x="{MARGIN - 6}" y="{y + 4:.0f}" text-anchor="end">{share}</text>')
    for place, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[place % len(COLOURS)]
        lines.append(f'<polyline fill="none" stroke="{colour}" points="{_points(curve)}"/>')
        y = bottom - 16 * (len(curves) - place)
        lines.append(
            f'<text x="{right}" y="{y}" text-anchor="end" fill="{colour}">{escape(name)}</text>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12" role="img">{"".join(lines)}</svg>'


def _points(curve: Curve) -> str:
    places: Sequence[tuple[float, float]] = [
        _place(float(cost), float(recovered))
        for cost, recovered in zip(curve.cost, curve.recovered, strict=True)
        if cost <= 1
    ]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _place(cost: float, recovered: float) -> tuple[float, float]:
    x = MARGIN + cost * (WIDTH - 2 * MARGIN)
    y = HEIGHT - MARGIN - min(recovered, TOP) / TOP * (HEIGHT - 1.25 * MARGIN)
    return x, y
