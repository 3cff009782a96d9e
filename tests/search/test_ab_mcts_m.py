from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.ab_mcts_m import SATURATED, SATURATED_SIZE, Model
from app.search.broods import Broods
from app.search.mixed_model import MixedPrior
from app.search.search import Search
from app.search.settings import Algorithm, ExpertChoice, SearchSettings
from app.search.tally import Census
from app.search.tree import Node
from tests.search.driving import asked

EXPERTS = ("m0", "m1")


def search_of(expert_choice: ExpertChoice, *, prune: bool, joint: bool = False) -> Search:
    """A search that nothing ends early."""
    return Search(
        SearchSettings(
            experts=EXPERTS,
            seed=3,
            algorithm=Algorithm.AB_MCTS_M,
            expert_choice=expert_choice,
            max_nodes=10_000,
            target_score=None,
            patience=None,
            prune=prune,
            joint_draws=joint,
        )
    )


@pytest.mark.parametrize(
    ("scores", "saturated"),
    [
        ((0.3, 0.3, 0.3), False),
        ((0.3, 0.3, 0.3, 0.3), True),
        ((0.3, 0.3, 0.301, 0.9), True),
        ((0.3, 0.3, 0.9, 0.8), False),
        ((0.3,) * 5 + (0.9, 0.8), False),
    ],
)
def test_saturated_subtree(*, scores: tuple[float, ...], saturated: bool) -> None:
    """At least 4 scores of which at least 3 in 4 are the same in percent; if asked for."""
    tally = Census()
    for score in scores:
        tally.add(score)
    for prune in (True, False):
        row = Model(MixedPrior(), prune=prune, joint=False).group(tally)
        assert row[SATURATED] == (saturated and prune)


@pytest.mark.parametrize("expert_choice", ExpertChoice)
def test_saturated_subtree_is_not_entered(expert_choice: ExpertChoice) -> None:
    """However good: the next best child is, and with none left the root is expanded."""
    assert largest_subtree(expert_choice, prune=True) == SATURATED_SIZE
    assert largest_subtree(expert_choice, prune=False) > SATURATED_SIZE


def largest_subtree(expert_choice: ExpertChoice, *, prune: bool) -> int:
    """Of a child of the root, after a hundred equal scores."""
    search = search_of(expert_choice, prune=prune)
    sizes: Counter[int] = Counter()
    line = [0]  # the child of the root above each node
    for _ in range(100):
        trial = asked(search)
        line.append(line[trial.parent] or search.tell(trial.id, 0.9, cost=0))
        if trial.parent:
            search.tell(trial.id, 0.9, cost=0)
        sizes[line[-1]] += 1
    return max(sizes.values())


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("expert_choice", ExpertChoice)
def test_good_child_is_gone_into(*, expert_choice: ExpertChoice, joint: bool) -> None:
    """More often than a bad one, and than before there were any."""
    search = search_of(expert_choice, prune=True, joint=joint)
    for score in (0.9, 0.1, 0.1, 0.1):
        search.adopt("m0", score, cost=0)
    parents = [asked(search).parent for _ in range(400)]
    assert parents.count(1) > 100
    assert parents.count(1) > 2 * parents.count(2)


def test_expert_without_scores_is_tried() -> None:
    """It draws from what is known of experts in general."""
    model = Model(MixedPrior(), prune=True, joint=False)
    search = search_of(ExpertChoice.THOMPSON, prune=True)
    for _ in range(20):
        search.adopt("m0", 0.4, cost=0)
    assert {asked(search).expert for _ in range(100)} == set(EXPERTS)
    assert np.isfinite(model.group(Census())[0])


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=40), seed=st.integers(0, 99))
def test_what_a_model_remembers_changes_no_draw(scores: list[float], seed: int) -> None:
    """Of broods that change and broods that do not: more of them than it keeps."""
    model = Model(MixedPrior(), prune=True, joint=False)
    broods = Broods(model.group, Census, by_expert=True)
    parents = np.random.default_rng(seed).integers(0, np.arange(1, len(scores) + 1))
    for place, (score, parent) in enumerate(zip(scores, parents.tolist(), strict=True), start=1):
        broods.add(Node(place, parent, 1, EXPERTS[place % 2], score, 0, None))
        for node in range(place):
            for brood in broods.pools(node).values():
                remembered = model.draw(broods, brood, np.random.default_rng(seed))
                anew = Model(MixedPrior(), prune=True, joint=False)
                drawn = anew.draw(broods, brood, np.random.default_rng(seed))
                assert np.array_equal(remembered.ballots, drawn.ballots)
