"""The replay: the gate beats what knows less than it, on problems it never saw."""

from dataclasses import replace

import numpy as np
import pytest

from app.evaluation import rivals
from app.evaluation.figures import curve
from app.evaluation.judgement import judge_apart, judge_by_folds
from app.evaluation.page import page
from app.evaluation.recorded import PAIRS, recordings
from app.evaluation.replay import ends, forecasts, play
from app.evaluation.split import FOLDS, Leak, check_split, folds
from app.gate.signals import NAMES
from tests.evaluation.recording import PRICES, made_up, recorded, rows


def test_slice_is_read_as_it_is_described() -> None:
    """300 problems; the strong arm is better and an opinion agrees where the answers are equal."""
    found = recorded()
    both = ends(found)
    assert len(found) == 300
    assert both.strong_right.mean() > both.cheap_right.mean()
    assert 0.03 < both.cheap_cost.mean() / both.strong_cost.mean() < 0.1
    agreed = [one.example.agreed["gemini-1.5-flash"] for one in found]
    assert 0.5 < np.mean(agreed) < 0.8


def test_problem_that_one_arm_never_saw_is_left_out() -> None:
    """And an opinion that was not recorded is not for sale."""
    kept = [row for row in rows() if row["model"] != "gemini-1.5-flash"]
    assert all(not one.opinion_costs for one in recordings(PAIRS["ZE1"], kept, PRICES))
    alone = [row for row in kept if row["model"] != "claude-3-5-sonnet-20241022"]
    assert recordings(PAIRS["ZE1"], alone, PRICES) == []


def test_count_that_was_not_recorded_is_missing() -> None:
    """The problem stays, and its text's features are told from zeros."""
    bare = [{**row, "zratio": None} for row in rows()]
    found = recordings(PAIRS["ZE1"], bare, PRICES)
    assert len(found) == 300
    assert all(one.example.features[NAMES.index("text_missing")] == 1 for one in found)


def test_folds_judge_each_problem_once_and_know_it_never() -> None:
    """In another order for each seed."""
    found = made_up(53)
    parts = folds(found, seed=1)
    assert len(parts) == FOLDS
    assert sorted(index for _, judged in parts for index in judged) == list(range(53))
    for fitted, judged in parts:
        check_split([found[i] for i in fitted], [found[i] for i in judged])
    assert parts != folds(found, seed=2)
    assert parts == folds(found, seed=1)


def test_known_problem_is_refused() -> None:
    """A model must not be judged on what it was fitted on."""
    found = made_up(40)
    with pytest.raises(Leak, match="problem 7"):
        forecasts(found, found[7:8])


def test_leaked_label_is_refused() -> None:
    """A feature that is the label tells of a mistake in the recordings, not of a good gate."""
    found = made_up(200)
    for one in found:
        one.example.features[NAMES.index("tagged")] = one.example.cheap_right
    with pytest.raises(Leak, match="tagged"):
        check_split(found[:100], found[100:])


def test_gate_learns_what_tells_right_from_wrong() -> None:
    """And buys no opinion that tells nothing."""
    found = made_up(600)
    known = forecasts(found[:400], found[400:])
    judged, both = found[400:], ends(found[400:])
    played = play(judged, known)
    line = curve(played.sweep, both, np.ones(200))
    random = curve(rivals.random_mixing(both), both, np.ones(200))
    assert line is not None
    assert random is not None
    assert line.cost_to_recover(0.8) < 0.75 * random.cost_to_recover(0.8)
    paid = played.sweep.cost - played.escalated * both.strong_cost
    assert paid.mean() < 1.02


def test_escalation_rises_with_value_on_recorded_problems() -> None:
    """As the rule promises, problem by problem."""
    found = recorded()
    played = play(found[200:], forecasts(found[:200], found[200:]))
    assert (np.diff(played.escalated.astype(int), axis=0) >= 0).all()


def test_judgement_tells_the_figures_and_its_controls() -> None:
    """On the recorded slice: better than chance, and blind where the labels are noise."""
    found = judge_by_folds(recorded(), seeds=1)
    figures = found.figures
    assert figures["problems"] == 300
    assert figures["seeds"] == 1
    match figures:
        case {
            "cost_to_recover": {
                "80": {"value": float(cost), "low": float(low), "high": float(high)}
            },
            "gap_recovered_at": {"3": float(gap)},
            "rivals": {"random mixing": {"cost_to_recover": {"80": {"value": float(random)}}}},
            "controls": {"shuffled_labels_auroc": float(noise), "leaked_label_caught": True},
            "auroc": float(told),
            "ece": float(off),
            "certificate_violations": float(violations),
        }:
            assert low <= cost <= high
            assert cost < random
            assert gap > 0.1
            assert 0.35 < noise < 0.65 < told
            assert off < 0.1
            assert violations <= 0.1
        case _:
            pytest.fail(f"not the figures of a report: {figures}")
    drawn = page({"ZE1": figures}, {"ZE1": found.curves})
    assert drawn.count("<polyline") == 5
    assert "://" not in drawn
    assert "NaN" not in drawn


def test_strong_arm_that_is_no_better_leaves_nothing_to_recover() -> None:
    """It is said, and no figure is invented."""
    found = [replace(one, example=replace(one.example, strong_right=0.0)) for one in made_up(100)]
    judged = judge_apart(found[:50], found[50:])
    assert "no_gap" in judged.figures
    assert "cost_to_recover" not in judged.figures
    assert "nothing to recover" in page({"<RG>": judged.figures}, {"<RG>": judged.curves})
