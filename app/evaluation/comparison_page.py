"""The report of a comparison as one HTML page that needs nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import ascii_uppercase
from typing import Any, Final

from app.evaluation.plots import (
    COLOURS,
    Axis,
    Point,
    Series,
    axis_over,
    reliability,
    scatter,
    stacked,
)

Json = Mapping[str, Any]
Form = Callable[[float], str]
"""A way to write a number."""
ROUTES: Final[Mapping[str, str]] = {
    "single": "#8ab17d",
    "strong": "#c1121f",
    "search": "#4361ee",
    "parallel": "#d17a22",
}
MIX_POINTS: Final = 40
NONE: Final = "-"
NAME_MAX: Final = 22
"""Characters of a name where there is little room; its letter tells it apart."""

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;"
    "color:#222}h2{margin-top:2.2rem}figure{margin:0}figcaption{color:#555;font-size:.9em}"
    "table{border-collapse:collapse;font-size:.88em}td,th{padding:.25rem .6rem;text-align:right;"
    "border-bottom:1px solid #ddd;white-space:nowrap;vertical-align:top}"
    "td:first-child,th:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere}small{color:#666;display:block}"
    "svg{width:100%;max-width:48rem;height:auto}.wide{overflow-x:auto}"
    ".mark{display:inline-block;min-width:1.3em;border-radius:.7em;color:#fff;text-align:center;"
    "font-weight:bold;margin-right:.4em;font-size:.85em}.best{font-weight:bold}"
)


@dataclass(frozen=True, slots=True)
class _Line:
    """A strategy in every plot: its letter, its colour, and its arms from the least bound up."""

    name: str
    mark: str
    colour: str
    arms: Sequence[Json]

    @property
    def badge(self) -> str:
        return f'<span class="mark" style="background:{self.colour}">{self.mark}</span>'


def comparison_page(report: Json) -> str:
    """HTML of what `report.json` says."""
    lines = _lines(report["arms"])
    sections = (
        f"<p>{escape(_matched(report))}</p>",
        _table(report, lines),
        _figure("Accuracy by cost", _frontier(report, lines), _frontier_words(report)),
        _figure(
            "Accuracy by tokens", _scatter(lines, "tokens", "tokens a task", _count), _TOKENS_WORDS
        ),
        _calibrations(lines),
        _routes(lines),
        _categories(report, lines),
        _statuses(report["arms"]),
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Strategies compared</title>'
        f"<style>{_STYLE}</style><h1>Strategies compared</h1>{''.join(sections)}</html>\n"
    )


def _lines(arms: Sequence[Json]) -> Sequence[_Line]:
    names = list(dict.fromkeys(str(arm["strategy"]) for arm in arms))
    return [
        _Line(
            name,
            ascii_uppercase[place % 26],
            COLOURS[place % len(COLOURS)],
            [arm for arm in arms if arm["strategy"] == name],
        )
        for place, name in enumerate(names)
    ]


def _matched(report: Json) -> str:
    matched = report["matched"]
    amounts = ", ".join(matched["amounts"])
    said = (
        f"{report['tasks']} tasks, {len(report['seeds'])} seed(s). Matched: {matched['by']}. "
        f"Every strategy may use up to {amounts} {matched['unit']} a task ({matched['field']}); "
        "what each really used is in the table. One strong call is always among them."
    )
    if matched["cap_usd"] is not None:
        said += f" Each may also spend up to ${matched['cap_usd']} a task."
    if report["warm_up"]:
        said += f" The first {report['warm_up']} tasks were run and are not counted."
    if report["unfinished"]:
        said += f" {report['unfinished']} tasks are not finished and not counted."
    return f"{said} Intervals hold 95 % (paired bootstrap by task, {report['draws']} draws)."


def _table(report: Json, lines: Sequence[_Line]) -> str:
    head = (
        "<tr><th>strategy<th>bound<th>accuracy %<th>mean<br>score<th>$ a task<th>tokens<th>calls"
        "<th>ms, p50<br>and p95<th>points above<br>the baseline<th>points above<br>mixing"
    )
    rows = [_row(line, arm) for line in lines for arm in line.arms]
    words = (
        f"Baseline: {report['baseline']}. Mixing: at the same mean dollars, a coin between the "
        "baseline and one strong call. Latency as the client saw it; that of recorded answers is "
        "the gateway's own."
    )
    table = f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'
    return f"<figure>{table}<figcaption>{escape(words)}</figcaption></figure>"


def _row(line: _Line, arm: Json) -> str:
    latency = arm["latency_ms"]
    difference = arm.get("to_baseline", {}).get("accuracy")
    cells = (
        f"{line.badge}{_wrapping(line.name)}",
        escape(arm["budget"]),
        _ranged(arm["accuracy"], lambda share: f"{100 * share:.1f}"),
        _number(arm["score"]["value"], "{:.3f}".format),
        _ranged(arm["cost_usd"], lambda dollars: f"{dollars:.3g}"),
        _number(arm["tokens"]["value"], _count),
        _number(arm["calls"]["value"], "{:.2f}".format),
        f"{_count(latency['p50'])}<small>{_count(latency['p95'])}</small>",
        _ranged(difference, _points),
        _ranged(arm.get("to_mixing"), _points),
    )
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells)


def _figure(title: str, plot: str, words: str) -> str:
    return (
        f"<h2>{escape(title)}</h2><figure>{plot}<figcaption>{escape(words)}</figcaption></figure>"
    )


_TOKENS_WORDS: Final = (
    "Mean tokens that a task really used, input and output together, of every call that was made."
)


def _frontier_words(report: Json) -> str:
    return (
        "Mean dollars that a task really cost. Letters as in the table; lines join the bounds of a "
        f"strategy. Dashed: tossing a coin between {report['baseline']} and one strong call, which "
        "is what anything above it has to beat at equal dollars."
    )


def _frontier(report: Json, lines: Sequence[_Line]) -> str:
    bound = report["arms"][-1]["budget"]
    last = {arm["strategy"]: arm for arm in report["arms"] if arm["budget"] == bound}
    base, strong = last.get(report["baseline"]), last.get(report["strong"])
    mixed: list[Point] = []
    if base is not None and strong is not None and base is not strong:
        mixed = _mixing(base, strong)
    return _scatter(lines, "cost_usd", "dollars a task", _dollars, mixed)


def _mixing(base: Json, strong: Json) -> list[Point]:
    if base["accuracy"]["value"] is None or strong["accuracy"]["value"] is None:
        return []
    shares = [step / MIX_POINTS for step in range(MIX_POINTS + 1)]
    places = [
        tuple(
            (1 - share) * base[name]["value"] + share * strong[name]["value"]
            for name in ("cost_usd", "accuracy")
        )
        for share in shares
    ]
    return [Point(x, y, x, x, y, y) for x, y in places]


def _scatter(
    lines: Sequence[_Line],
    name: str,
    title: str,
    form: Form,
    dashed: Sequence[Point] = (),
) -> str:
    known = [
        (line, [arm for arm in line.arms if arm["accuracy"]["value"] is not None]) for line in lines
    ]
    arms = [arm for _, found in known for arm in found]
    if not arms:
        return "<p>Nothing could be graded.</p>"
    ends = [arm[name][end] for arm in arms for end in ("low", "value", "high")]
    heights = [arm["accuracy"][end] for arm in arms for end in ("low", "high")]
    y = Axis(
        "accuracy", max(0.0, min(heights) - 0.03), min(1.0, max(heights) + 0.03), form=_percent
    )
    series = [
        Series(line.mark, line.colour, [_point(arm, name) for arm in found])
        for line, found in known
    ]
    return scatter(axis_over(title, ends, form), y, series, dashed=dashed)


def _point(arm: Json, name: str) -> Point:
    x, y = arm[name], arm["accuracy"]
    return Point(x["value"], y["value"], x["low"], x["high"], y["low"], y["high"])


def _calibrations(lines: Sequence[_Line]) -> str:
    told = {
        line.mark: (line, line.arms[-1]["calibration"])
        for line in lines
        if line.arms[-1]["calibration"] is not None
    }
    if not told:
        return "<h2>Calibration</h2><p>The gateway told no chance of being right often enough.</p>"
    plot = reliability(
        {
            mark: (line.colour, [(one["told"], one["right"]) for one in found["bins"]])
            for mark, (line, found) in told.items()
        }
    )
    words = "; ".join(
        f"{mark} {line.name}: ECE {found['ece']:.3f} of {found['n']} answers"
        for mark, (line, found) in told.items()
    )
    return _figure(
        "Calibration", plot, f"The reported confidence, in ten bins, at the largest bound. {words}."
    )


def _routes(lines: Sequence[_Line]) -> str:
    rows: list[tuple[str, Mapping[str, float]]] = []
    for line, arm in [(one, arm) for one in lines for arm in one.arms]:
        total = sum(arm["routes"].values())
        if total:
            shares = {
                route: arm["routes"][route] / total for route in ROUTES if route in arm["routes"]
            }
            rows.append((f"{line.mark} {_short(line.name)}, {arm['budget']}", shares))
    seen = {route for _, shares in rows for route in shares}
    colours = {route: colour for route, colour in ROUTES.items() if route in seen}
    return _figure("Routes", stacked(rows, colours), "Which way the answers came, by share.")


def _short(name: str) -> str:
    return name if len(name) <= NAME_MAX else f"{name[: NAME_MAX - 1]}…"


def _categories(report: Json, lines: Sequence[_Line]) -> str:
    """Accuracy by category at the largest bound; the best of a row is bold."""
    last = [(line, line.arms[-1]["categories"]) for line in lines]
    sizes: dict[str, int] = {}
    for _, found in last:
        for name, one in found.items():
            sizes[name] = max(sizes.get(name, 0), one["tasks"])
    if set(sizes) <= {""}:
        return ""
    names = "".join(f"<th>{line.badge}<br>{_wrapping(line.name)}" for line, _ in last)
    rows = [
        _category(name, size, [found.get(name) for _, found in last])
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])
    ]
    return (
        f"<h2>Where each strategy wins</h2><p>Accuracy by category at the largest bound, "
        f"{escape(report['arms'][-1]['budget'])}; the best in bold. Few tasks tell little.</p>"
        f'<div class="wide"><table><tr><th>category<th>tasks{names}{"".join(rows)}</table></div>'
    )


def _category(name: str, size: int, found: Sequence[Json | None]) -> str:
    best = max((one["accuracy"] for one in found if one is not None), default=None)
    cells = [
        f"<td>{NONE}" if one is None else _shade(one["accuracy"], is_best=one["accuracy"] == best)
        for one in found
    ]
    return f"<tr><td>{escape(name) or '(none)'}<td>{size}{''.join(cells)}"


def _shade(accuracy: float, *, is_best: bool) -> str:
    kind = ' class="best"' if is_best else ""
    return f'<td{kind} style="background:rgba(11,110,79,{0.45 * accuracy:.2f})">{accuracy:.0%}'


def _statuses(arms: Sequence[Json]) -> str:
    """How the answers ended, where some did not simply complete."""
    rows = [
        f"<tr><td>{escape(arm['strategy'])}<td>{escape(arm['budget'])}<td>{arm['ungraded']}<td>"
        + ", ".join(f"{escape(status)} {count}" for status, count in arm["statuses"].items())
        for arm in arms
        if arm["ungraded"] or set(arm["statuses"]) != {"completed"}
    ]
    if not rows:
        return ""
    return (
        "<h2>How they ended</h2><p>An answer that its bound left no room for is wrong. "
        "What nothing could grade is left out of the accuracy.</p>"
        f"<table><tr><th>strategy<th>bound<th>ungraded<th>solves{''.join(rows)}</table>"
    )


def _ranged(interval: Json | None, form: Form) -> str:
    if interval is None or interval["value"] is None:
        return NONE
    low, high = form(interval["low"]), form(interval["high"])
    return f"{form(interval['value'])}<small>{low} to {high}</small>"


def _wrapping(name: str) -> str:
    """A name that may be broken where its parts meet."""
    return escape(name).replace(":", ":<wbr>").replace("@", "<wbr>@").replace("+", "+<wbr>")


def _number(value: float | None, form: Form) -> str:
    return NONE if value is None else form(value)


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _dollars(value: float) -> str:
    return f"${value:.3g}" if value < 100 else f"${value:,.0f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"
