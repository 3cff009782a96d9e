"""Random lives of a search, for properties: settings, steps, and what can be seen from outside."""

from dataclasses import dataclass
from enum import StrEnum

from hypothesis import strategies as st

from app.search.events import Event
from app.search.search import Search
from app.search.settings import Algorithm, ExpertChoice, SearchSettings
from app.search.tree import Node
from app.search.trial import Stop, Trial, Wait

EXPERTS = ("m0", "m1", "m2")


class Act(StrEnum):
    """What a caller may do."""

    ASK = "ask"
    TELL = "tell"
    ABANDON = "abandon"
    ADOPT = "adopt"
    SET_EXPERTS = "set_experts"


@dataclass(frozen=True, slots=True)
class Step:
    """One act with all that any act may need; `pick` chooses among the trials in flight."""

    act: Act
    pick: int
    score: float
    experts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """All that a search shows."""

    log: tuple[Event, ...]
    nodes: tuple[Node, ...]
    best: int | None
    in_flight: tuple[Trial, ...]
    experts: tuple[str, ...]


Reply = Trial | Wait | Stop | int | None


def view(search: Search) -> View:
    """What `search` shows now."""
    return View(
        tuple(search.log), tuple(search.nodes), search.best, search.in_flight, search.experts
    )


def asked(search: Search) -> Trial:
    """The next ask, which must be a trial."""
    trial = search.ask()
    assert isinstance(trial, Trial), trial
    return trial


def play(search: Search, step: Step) -> Reply:
    """Do one step and return the search's reply; with nothing in flight to close, ask instead."""
    act = step.act
    if act in {Act.TELL, Act.ABANDON} and not search.in_flight:
        act = Act.ASK
    match act:
        case Act.ASK:
            return search.ask()
        case Act.TELL:
            return search.tell(chosen(search, step).id, step.score, cost=step.pick)
        case Act.ABANDON:
            search.abandon(chosen(search, step).id, cost=step.pick, reason="unavailable")
        case Act.ADOPT:
            return search.adopt(step.experts[0], step.score, cost=step.pick)
        case Act.SET_EXPERTS:
            search.set_experts(step.experts)
    return None


def chosen(search: Search, step: Step) -> Trial:
    """The trial in flight that `step` is about."""
    return search.in_flight[step.pick % len(search.in_flight)]


scores = st.sampled_from((0.0, 0.25, 0.5, 1.0)) | st.floats(0, 1)
expert_lists = st.lists(st.sampled_from(EXPERTS), min_size=1, unique=True).map(tuple)

settings = st.builds(
    SearchSettings,
    experts=expert_lists,
    seed=st.integers(0, 2**63),
    algorithm=st.sampled_from(Algorithm),
    expert_choice=st.sampled_from(ExpertChoice),
    max_nodes=st.integers(1, 12),
    max_depth=st.integers(1, 4),
    target_score=st.sampled_from((None, 0.9, 1.0)),
    patience=st.sampled_from((None, 1, 4)),
    value=st.sampled_from((None, 1, 100)),
    pass_value=st.sampled_from((None, 1, 100)),
    score_step=st.sampled_from((1e-3, 0.25)),
    score_noise=st.sampled_from((0.0, 0.1)),
    prune=st.booleans(),
    joint_draws=st.booleans(),
    children_per_node=st.integers(1, 3),
    beam_width=st.integers(1, 3),
)

# Asks and tells come up more often than the rest, or no tree would grow.
steps = st.builds(
    Step,
    act=st.sampled_from((*Act, Act.ASK, Act.ASK, Act.TELL, Act.TELL)),
    pick=st.integers(0, 5),
    score=scores,
    experts=expert_lists,
)
