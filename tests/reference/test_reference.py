"""AB-MCTS-A against the values of the published implementation; see abmcts/ for what they are."""

import json
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import TypedDict

import pytest

from app.search.ab_mcts_a import children_by_expert, pooled
from app.search.posterior import Tally
from app.search.tree import Node, Tree
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


def tree_of(ops: list[tuple[int, str, float]]) -> Tree:
    """The tree after `ops`."""
    tree = Tree()
    for node_id, (parent_index, expert, score) in enumerate(ops, start=1):
        depth = tree.depth(parent_index + 1) + 1
        tree.add(Node(node_id, parent_index + 1, depth, expert, score, 0, node_id))
    return tree


def tally_of(tree: Tree, node: int, arm: str) -> Tally:
    """The scores behind an arm of `node`, by its name in the files: `GEN[shared]`, `child0[m1]`.

    Arms are shared by all experts, or are one expert's own: `action[m1]` is all that m1's children
    and their descendants have brought.
    """
    kind, _, pool = arm.removesuffix("]").partition("[")
    if kind.startswith("child"):
        return tree.subtree(tree.children[node][int(kind.removeprefix("child"))])
    gen, cont = tree.gen[node], tree.cont[node]
    if pool != "shared":
        gen, cont = pooled(tree, children_by_expert(tree, node).get(pool, []))
    whole = Tally()
    whole.merge(gen)
    whole.merge(cont)
    return {"GEN": gen, "CONT": cont, "action": whole}[kind]


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
    tree, prior = tree_of(case["ops"]), adapter.FAMILIES[case["dist"]]()
    for node_index, arms in case["node_stats"]:
        for arm, expected in arms.items():
            found = asdict(prior.given(tally_of(tree, node_index + 1, arm)))
            assert found == pytest.approx(expected, abs=1e-9, rel=0), (node_index, arm)


@pytest.mark.parametrize("case", tree_cases(), ids=tree_name)
def test_next_expansion_has_the_reference_distribution(case: TreeCase) -> None:
    """Node and expert together, for each way to choose an expert."""
    found = adapter.a_tree(
        case["dist"], case["actions"], case["ops"], case["strategy"], DRAWS, SEED
    )
    assert_same_distribution(found, case["target_prob"])


@pytest.mark.parametrize(
    ("algo", "problem", "expected"),
    [
        ("A_gaussian", "P1_wide", 0.715),
        ("A_gaussian", "P2_deep", 0.527),
        ("A_gaussian", "P3_multi", 0.631),
        ("A_beta", "P3_multi", 0.635),
    ],
)
def test_search_is_as_good_as_the_reference(algo: str, problem: str, expected: float) -> None:
    """Mean best score after 64 calls; the expected mean is taken to be as uncertain as ours."""
    fn, actions = PROBLEMS[problem]
    bests = [adapter.search(algo, problem, fn, actions, 64, seed) for seed in range(100)]
    error = stdev(bests) * sqrt(2 / len(bests))
    assert mean(bests) == pytest.approx(expected, abs=4.5 * error)
