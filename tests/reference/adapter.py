"""The questions of the reference files, put to this engine.

One function a question; each says what it takes in the words of the files. It goes through the
engine's public surface and imports nothing of the tests, so that it can also be loaded by path.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from math import sqrt

import numpy as np

from app.search.events import Asked, Event, Told
from app.search.mixed_model import Array, Fit, Groups, MixedPrior, fit
from app.search.posterior import Beta, Gaussian
from app.search.search import Search, replay
from app.search.settings import Algorithm, ExpertChoice, SearchSettings
from app.search.tally import Tally
from app.search.trial import Trial

State = dict[str, float]

FAMILIES: dict[str, type[Gaussian | Beta]] = {"gaussian": Gaussian, "beta": Beta}
ALGORITHMS = {
    "gaussian": Algorithm.AB_MCTS_A,
    "beta": Algorithm.AB_MCTS_A_BETA,
    "A_gaussian": Algorithm.AB_MCTS_A,
    "A_beta": Algorithm.AB_MCTS_A_BETA,
    "M": Algorithm.AB_MCTS_M,
    "fathom": Algorithm.FATHOM,
}
STRATEGIES = {
    "multiarm_bandit_thompson": ExpertChoice.THOMPSON,
    "multiarm_bandit_ucb": ExpertChoice.UCB,
    "stack": ExpertChoice.STACK,
}


def a_params(
    dist: str, prior: Mapping[str, float], observations: Sequence[float]
) -> dict[str, float]:
    """Posterior parameters after all observations."""
    return asdict(FAMILIES[dist](**prior).given(tally_of(observations)))


def a_choice(dist: str, arms: Sequence[Sequence[float]], draws: int, seed: int) -> list[float]:
    """P(arm i has the largest Thompson draw), with the default prior."""
    rng = np.random.default_rng(seed)
    prior = FAMILIES[dist]()
    rows = np.array([prior.arm(tally_of(arm)) for arm in arms])
    drawn = (prior.ballots(rows, 0, rng)[1] for _ in range(draws))
    wins = Counter(int(means.argmax()) for means in drawn)
    return [wins[arm] / draws for arm in range(len(arms))]


def a_tree(  # noqa: PLR0917 (the signature is the reference's)
    dist: str,
    actions: Sequence[str],
    ops: Sequence[tuple[int, str, float]],
    strategy: str,
    draws: int,
    seed: int,
) -> dict[str, float]:
    """Distribution of the next expansion: "parent index|action" -> probability.

    One search is asked over and over and told nothing. Trials in flight leave the statistics
    alone and every ask has its own generator, so these are independent draws of one choice.
    """
    search = replay(
        unstoppable(actions, seed, ALGORITHMS[dist], STRATEGIES[strategy], len(ops) + draws),
        scripted(ops),
    )
    return expansions(search, draws)


def m_moments(
    groups: Sequence[Sequence[float]], prior_mean: float, prior_sigmas: Mapping[str, float]
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each arm's next score: children in order, then GEN."""
    means, counts, posterior = mixed(groups, prior_mean, prior_sigmas)
    at_points = [posterior.next_score(*arm, slice(None)) for arm in zip(means, counts, strict=True)]
    first = [float(posterior.weights @ mean) for mean, _ in at_points]
    second = [float(posterior.weights @ (mean**2 + variance)) for mean, variance in at_points]
    return first, [sqrt(square - m * m) for m, square in zip(first, second, strict=True)]


def m_choice(
    groups: Sequence[Sequence[float]],
    prior_mean: float,
    prior_sigmas: Mapping[str, float],
    draws: int,
    seed: int,
) -> list[float]:
    """P(arm has the largest independent draw of a next score), in the same order."""
    means, counts, posterior = mixed(groups, prior_mean, prior_sigmas)
    many_means, many_counts = np.array([means, counts])[:, :, None].repeat(draws, axis=2)
    drawn = posterior.draws(many_means, many_counts, np.random.default_rng(seed))
    wins = np.bincount(drawn.argmax(axis=0), minlength=len(means))
    return [int(count) / draws for count in wins]


def m_tree(
    actions: Sequence[str], ops: Sequence[tuple[int, str, float]], draws: int, seed: int
) -> dict[str, float]:
    """As `a_tree`, by algorithm I and without pruning."""
    settings = unstoppable(
        actions, seed, Algorithm.AB_MCTS_M, ExpertChoice.THOMPSON, len(ops) + draws
    )
    return expansions(replay(replace(settings, prune=False), scripted(ops)), draws)


def search(  # noqa: PLR0917 (the signature is the reference's)
    algo: str,
    problem: str,
    fn: Callable[[str, State | None, np.random.Generator], State],
    actions: Sequence[str],
    n_calls: int,
    seed: int,
) -> float:
    """Best score after `n_calls`; the dict that `fn` returns is the state of the new node."""
    engine = Search(unstoppable(actions, seed, ALGORITHMS[algo], ExpertChoice.THOMPSON, n_calls))
    rng = np.random.default_rng(seed)
    states: list[State | None] = [None]
    for _ in range(n_calls):
        (trial,) = trials(engine, 1)
        state = fn(trial.expert, states[trial.parent], rng)
        # Costs are whole numbers here, and may be fractions there; only their ratios matter.
        engine.tell(trial.id, state["score"], cost=round(1_000 * state.get("cost", 0.0)))
        states.append(state)
    return max(node.score for node in engine.nodes)


def expansions(search: Search, draws: int) -> dict[str, float]:
    """How often each "parent index|action" is asked for in so many asks."""
    asked = Counter(f"{trial.parent - 1}|{trial.expert}" for trial in trials(search, draws))
    return {key: count / draws for key, count in asked.items()}


def mixed(
    groups: Sequence[Sequence[float]], prior_mean: float, prior_sigmas: Mapping[str, float]
) -> tuple[Array, Array, Fit]:
    """Means and counts of all arms, GEN's being those of an empty group, and the posterior."""
    prior = MixedPrior(
        m0=prior_mean,
        sigma_mu=prior_sigmas["mu_alpha"],
        sigma_a=prior_sigmas["sigma_alpha"],
        sigma_y=prior_sigmas["sigma_y"],
    )
    tallies = [tally_of(group) for group in groups]
    means = np.array([tally.mean for tally in tallies])
    counts = np.array([float(tally.n) for tally in tallies])
    deviations = np.array([tally.deviation for tally in tallies])
    posterior = fit(Groups(means, counts, deviations), prior)
    return np.append(means, 0.0), np.append(counts, 0.0), posterior


def unstoppable(
    actions: Sequence[str],
    seed: int,
    algorithm: Algorithm,
    expert_choice: ExpertChoice,
    max_nodes: int,
) -> SearchSettings:
    """Settings under which nothing but `max_nodes` ends the search."""
    return SearchSettings(
        experts=tuple(actions),
        seed=seed,
        algorithm=algorithm,
        expert_choice=expert_choice,
        max_nodes=max_nodes,
        max_depth=1_000_000,
        target_score=None,
        patience=None,
    )


def scripted(ops: Sequence[tuple[int, str, float]]) -> list[Event]:
    """The log of a search that was asked for and told exactly [parent index, action, score]."""
    log: list[Event] = []
    depths = [0]
    for number, (parent_index, action, score) in enumerate(ops, start=1):
        parent = parent_index + 1  # node ids start at 1, the root is 0
        depths.append(depths[parent] + 1)
        log.append(Asked(len(log) + 1, Trial(number, parent, action, depths[-1])))
        log.append(Told(len(log) + 1, number, score, cost=0))
    return log


def trials(search: Search, count: int) -> list[Trial]:
    """The next `count` asks, all of which must be trials."""
    asked = [search.ask() for _ in range(count)]
    found = [trial for trial in asked if isinstance(trial, Trial)]
    assert len(found) == count, f"no trial: {asked[len(found)]}"
    return found


def tally_of(scores: Sequence[float]) -> Tally:
    """All of `scores`, counted one by one."""
    tally = Tally()
    for score in scores:
        tally.add(score)
    return tally
