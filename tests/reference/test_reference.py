"""AB-MCTS-A against the published implementation, -M against exact values; see abmcts/."""

import json
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import TypedDict

import pytest

from app.search.broods import SHARED, Broods
from app.search.tally import Tally
from app.search.tree import Node
from tests.reference import adapter
from tests.reference.abmcts.problems import PROBLEMS

FILES = Path(__file__).with_name("abmcts")
REFERENCE_DRAWS = 25_000
DRAWS = 25_000
SEED = 2503


class ParamsCase(TypedDict):
    dist: str
    prior: dict[str, float]
    observations: list[float]
    params_after_each: list[dict[str, float]]


class ChoiceCase(TypedDict):
    dist: str
    arms: list[list[float]]
    choice_prob: list[float]


class TreeCase(TypedDict):
    tree: str
    dist: str
    strategy: str
    actions: list[str]
    ops: list[tuple[int, str, float]]
    target_prob: dict[str, float]
    node_stats: list[tuple[int, dict[str, dict[str, float]]]]


class MixedCase(TypedDict):
    id: str
    groups: list[list[float]]
    prior_mean: float
    prior_sigmas: dict[str, float]
    mean: list[float]
    sd: list[float]
    choice_prob: list[float]


class MixedTreeCase(TypedDict):
    tree: str
    actions: list[str]
    ops: list[tuple[int, str, float]]
    target_prob: dict[str, float]


def mixed_cases() -> list[MixedCase]:
    """All cases of m_exact.json."""
    cases: list[MixedCase] = json.loads((FILES / "m_exact.json").read_text())["cases"]
    return cases


def mixed_tree_cases() -> list[MixedTreeCase]:
    """All cases of m_exact_trees.json."""
    cases: list[MixedTreeCase] = json.loads((FILES / "m_exact_trees.json").read_text())["cases"]
    return cases


def params_cases() -> list[ParamsCase]:
    """All cases of a_params.json."""
    cases: list[ParamsCase] = json.loads((FILES / "a_params.json").read_text())["cases"]
    return cases


def choice_cases() -> list[ChoiceCase]:
    """All cases of a_choice.json."""
    cases: list[ChoiceCase] = json.loads((FILES / "a_choice.json").read_text())["cases"]
    return cases


def tree_cases() -> list[TreeCase]:
    """All cases of a_trees.json; `node_stats` as (node index, its arms)."""
    cases = json.loads((FILES / "a_trees.json").read_text())["cases"]
    for case in cases:
        case["node_stats"] = [(arms.pop("node"), arms) for arms in case["node_stats"]]
    typed: list[TreeCase] = cases
    return typed


def tree_name(case: TreeCase) -> str:
    """A name that a failing test can be found by."""
    return f"{case['tree']}-{case['dist']}-{case['strategy']}"


def broods_of(case: TreeCase) -> Broods[Tally]:
    """The arms after the case's `ops`; experts are kept apart in `stack` alone."""
    arm = adapter.FAMILIES[case["dist"]]().arm
    broods = Broods(arm, Tally, by_expert=case["strategy"] == "stack")
    for node_id, (parent_index, expert, score) in enumerate(case["ops"], start=1):
        broods.add(Node(node_id, parent_index + 1, 0, expert, score, 0, node_id))
    return broods


def tally_of(broods: Broods[Tally], case: TreeCase, node: int, arm: str) -> Tally:
    """The scores behind an arm of `node`, by its name in the files: `GEN[shared]`, `child0[m1]`.

    Arms are shared by all experts, or are one expert's own: `action[m1]` is all that m1's children
    and their descendants have brought.
    """
    kind, _, pool = arm.removesuffix("]").partition("[")
    if kind.startswith("child"):
        children = [place for place, op in enumerate(case["ops"], start=1) if op[0] + 1 == node]
        return broods.subtree(children[int(kind.removeprefix("child"))])
    brood = broods.brood(node, SHARED if pool == "shared" else pool)
    if brood is None:
        return Tally()
    return {"GEN": brood.own, "CONT": brood.deeper, "action": brood.below}[kind]


def assert_same_distribution(found: dict[str, float], expected: dict[str, float]) -> None:
    """Both are frequencies: they may differ by 4.5 standard errors and a count or two."""
    for key in found.keys() | expected.keys():
        p = expected.get(key, 0.0)
        error = sqrt(p * (1 - p) * (1 / REFERENCE_DRAWS + 1 / DRAWS))
        assert found.get(key, 0.0) == pytest.approx(p, abs=4.5 * error + 2 / DRAWS), key


@pytest.mark.parametrize("case", params_cases())
def test_posterior_has_the_reference_parameters(case: ParamsCase) -> None:
    """After each observation, whatever the prior."""
    for n, expected in enumerate(case["params_after_each"]):
        found = adapter.a_params(case["dist"], case["prior"], case["observations"][:n])
        assert found == pytest.approx(expected, abs=1e-9, rel=0)


@pytest.mark.parametrize("case", choice_cases())
def test_arm_is_chosen_as_often_as_in_the_reference(case: ChoiceCase) -> None:
    """Thompson sampling among arms that have seen different scores."""
    found = adapter.a_choice(case["dist"], case["arms"], DRAWS, SEED)
    assert_same_distribution(
        {str(arm): p for arm, p in enumerate(found)},
        {str(arm): p for arm, p in enumerate(case["choice_prob"])},
    )


@pytest.mark.parametrize("case", tree_cases(), ids=tree_name)
def test_every_arm_of_every_node_has_the_reference_posterior(case: TreeCase) -> None:
    """GEN, CONT, each child and, in `stack`, each expert: what was backed up to whom."""
    broods, prior = broods_of(case), adapter.FAMILIES[case["dist"]]()
    for node_index, arms in case["node_stats"]:
        for arm, expected in arms.items():
            found = asdict(prior.given(tally_of(broods, case, node_index + 1, arm)))
            assert found == pytest.approx(expected, abs=1e-9, rel=0), (node_index, arm)


@pytest.mark.parametrize("case", tree_cases(), ids=tree_name)
def test_next_expansion_has_the_reference_distribution(case: TreeCase) -> None:
    """Node and expert together, for each way to choose an expert."""
    found = adapter.a_tree(
        case["dist"], case["actions"], case["ops"], case["strategy"], DRAWS, SEED
    )
    assert_same_distribution(found, case["target_prob"])


@pytest.mark.parametrize("case", mixed_cases(), ids=lambda case: case["id"])
def test_next_score_has_the_exact_moments(case: MixedCase) -> None:
    """Of every child and of a new one."""
    means, deviations = adapter.m_moments(case["groups"], case["prior_mean"], case["prior_sigmas"])
    assert means == pytest.approx(case["mean"], abs=1e-3, rel=0)
    assert deviations == pytest.approx(case["sd"], rel=0.01)


@pytest.mark.parametrize("case", mixed_cases(), ids=lambda case: case["id"])
def test_arm_wins_as_often_as_is_exact(case: MixedCase) -> None:
    """By independent draws; total variation."""
    sigmas = case["prior_sigmas"]
    found = adapter.m_choice(case["groups"], case["prior_mean"], sigmas, DRAWS, SEED)
    expected = case["choice_prob"]
    distance = sum(abs(p - q) for p, q in zip(found, expected, strict=True)) / 2
    assert distance < 2e-3 + 1.5 * sqrt(len(expected) / DRAWS)


@pytest.mark.parametrize("case", mixed_tree_cases(), ids=lambda case: case["tree"])
def test_next_expansion_has_the_exact_distribution(case: MixedTreeCase) -> None:
    """Node and expert together."""
    found = adapter.m_tree(case["actions"], case["ops"], DRAWS, SEED)
    expected = case["target_prob"]
    distance = sum(abs(found.get(key, 0.0) - p) for key, p in expected.items()) / 2
    assert found.keys() <= expected.keys()
    assert distance < 2e-3 + 1.5 * sqrt(len(expected) / DRAWS)


@pytest.mark.parametrize(
    ("algo", "problem", "expected"),
    [
        ("A_gaussian", "P1_wide", 0.715),
        ("A_gaussian", "P2_deep", 0.527),
        ("A_gaussian", "P3_multi", 0.631),
        ("A_beta", "P3_multi", 0.635),
        ("M", "P1_wide", 0.742),
        ("M", "P2_deep", 0.598),
        ("M", "P3_multi", 0.664),
    ],
)
def test_search_is_as_good_as_the_reference(algo: str, problem: str, expected: float) -> None:
    """Mean best score after 64 calls; the expected mean is taken to be as uncertain as ours."""
    fn, actions = PROBLEMS[problem]
    bests = [adapter.search(algo, problem, fn, actions, 64, seed) for seed in range(100)]
    error = stdev(bests) * sqrt(2 / len(bests))
    assert mean(bests) == pytest.approx(expected, abs=4.5 * error)
