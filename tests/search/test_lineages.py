from math import erf, sqrt

import numpy as np
import pytest

from app.search.beliefs import believe
from app.search.growing import Growing
from app.search.lineages import Lineages
from app.search.normal import cdf
from app.search.prices import prices
from app.search.skills import Skills
from app.search.tree import Node

Told = tuple[int, float]


def lineages_of(*told: Told) -> Lineages:
    """The counts after answers of one expert, each with its parent and its score."""
    lineages = Lineages()
    for node_id, (parent, score) in enumerate(told, start=1):
        lineages.told(Node(node_id, parent, lineages.depth(parent) + 1, "a", score, 1, node_id))
        lineages.saturated.rows[:] = believe(lineages).own
    return lineages


@pytest.mark.parametrize(
    ("told", "tops", "best", "fails", "ties"),
    [
        pytest.param([(0, 0.3)], [1], [0.3], [0], [0], id="fresh"),
        pytest.param([(0, 0.3), (0, 0.2)], [1, 2], [0.3, 0.2], [0, 0], [0, 0], id="two fresh"),
        pytest.param([(0, 0.3), (1, 0.4)], [2], [0.4], [0], [0], id="gain"),
        pytest.param([(0, 0.3), (1, 0.2)], [1], [0.3], [1], [0], id="fail"),
        pytest.param([(0, 0.3), (1, 0.3)], [2], [0.3], [1], [1], id="tie moves the top"),
        pytest.param([(0, 0.3), (1, 0.3), (1, 0.2)], [2], [0.3], [2], [1], id="fail on a tie"),
        pytest.param([(0, 0.3), (1, 0.2), (1, 0.4)], [3], [0.4], [0], [0], id="gain after fail"),
        pytest.param([(0, 0.3), (1, 0.2), (2, 0.1)], [1], [0.3], [1], [0], id="fail on a worse"),
        pytest.param(
            [(0, 0.3), (1, 0.5), (1, 0.4)], [2, 3], [0.5, 0.4], [0, 0], [0, 0], id="branch"
        ),
        pytest.param(
            [(0, 0.3), (1, 0.5), (1, 0.5)], [2, 3], [0.5, 0.5], [0, 1], [0, 1], id="branch ties"
        ),
        pytest.param([(0, 0.3), (1, 0.5), (1, 0.6)], [3], [0.6], [0], [0], id="older node wins"),
    ],
)
def test_told_answers_are_counted(
    told: list[Told], tops: list[int], best: list[float], fails: list[int], ties: list[int]
) -> None:
    """One row a lineage: where it ends, how good it is, what has failed there since."""
    lineages = lineages_of(*told)
    assert lineages.tops == tops
    assert lineages.best.rows.tolist() == best
    assert lineages.fails.rows.sum(axis=1).tolist() == fails
    assert lineages.ties.rows.tolist() == ties


def test_fails_raise_the_belief_in_a_ceiling_and_a_gain_ends_it() -> None:
    """Fail by fail, and back to little."""
    told = [(0, 0.3), (1, 0.4), (2, 0.45)]
    beliefs = [believe(lineages_of(*told, *[(3, 0.45)] * fails)).own[0] for fails in range(6)]
    assert beliefs == sorted(beliefs)
    assert beliefs[-1] > 0.5
    assert believe(lineages_of(*told, *[(3, 0.4)] * 5, (3, 0.5))).own[0] < 0.2


def test_fails_in_a_dead_lineage_say_little_of_the_expert() -> None:
    """Where it gained before, ten more fails on one node do not make it a bad refiner."""
    gains = [(node, 0.2 + 0.05 * node) for node in range(10)]
    before, after = believe(lineages_of(*gains)), believe(lineages_of(*gains, *[(10, 0.65)] * 10))
    chance = [b.gain_wins[1] / (b.gain_wins[1] + b.gain_losses[1]) for b in (before, after)]
    assert chance[1] > chance[0] - 0.2


def test_branches_that_pass_their_origin_speak_for_single_dead_ends() -> None:
    """And those that die where it did speak for a ceiling that they share."""
    stuck = [(0, 0.3), (1, 0.4), *[(2, 0.35)] * 8]
    prior = believe(lineages_of(*stuck)).shared
    assert believe(lineages_of(*stuck, (1, 0.38), (11, 0.6))).shared < prior
    assert believe(lineages_of(*stuck, (1, 0.38), *[(11, 0.38)] * 8)).shared > prior


def test_normal_distribution() -> None:
    """Within the error that its source gives."""
    x = np.linspace(-8, 8, 2_001)
    exact = np.array([(1 + erf(z / sqrt(2))) / 2 for z in x])
    assert np.abs(cdf(x) - exact).max() < 7.5e-8


@pytest.mark.parametrize("width", [(), (1,), (3,)])
def test_growing_keeps_its_rows(width: tuple[int, ...]) -> None:
    """However often its memory is moved."""
    table = Growing(*width)
    for number in range(100):
        table.append(float(number))
        table.rows[number] += 0.5
    assert np.array_equal(table.rows.T, np.broadcast_to(np.arange(100) + 0.5, (*width, 100)))


def test_growing_widens() -> None:
    """With zeros, beside what is there."""
    table = Growing(1)
    for number in range(9):
        table.append(float(number))
        table.widen()
    assert table.rows[:, 0].tolist() == list(range(9))
    assert not table.rows[:, 9:].any()


def skills_of(calls: dict[str, list[int]], failures: dict[str, int]) -> Skills:
    """Fresh calls of some experts, by their costs; the first few of each failed."""
    skills = Skills()
    for expert, costs in calls.items():
        row = skills.enrol(expert)
        for cost in costs:
            skills.ended(row, 0, cost)
        for _ in range(failures.get(expert, 0)):
            skills.failed(row)
    return skills


def test_price_moves_from_what_was_expected_to_what_was_paid() -> None:
    """What was expected counts as one call."""
    before = prices(skills_of({}, {}), ["a"], {"a": 100})[0, 0]
    after = prices(skills_of({"a": [20] * 50}, {}), ["a"], {"a": 100})[0, 0]
    assert before > 100
    assert 20 < after < 23


def test_failed_calls_make_answers_dearer() -> None:
    """Two calls an answer cost twice as much, or nearly."""
    skills = skills_of({"a": [10] * 40, "b": [10] * 40}, {"a": 20})
    failing, steady = prices(skills, ["a", "b"], {})[:, 0]
    assert 1.7 < failing / steady < 2.1


def test_where_nothing_costs_anything_all_prices_are_alike() -> None:
    """And an expert that is never asked costs what the others do."""
    assert len(set(prices(skills_of({"a": [0, 0]}, {}), ["b", "c"], {}).ravel())) == 1
    known, unknown = prices(skills_of({"a": [30] * 20}, {}), ["a", "b"], {})[:, 0]
    assert known == pytest.approx(unknown, rel=0.15)
