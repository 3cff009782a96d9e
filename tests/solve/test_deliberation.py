"""Drafts and passes over them, driven by hand: no model, no clock, no money."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.codec import decode, encode
from app.search.events import Asked, ExpertsSet, Told, UnreadableLog
from app.search.trial import InvalidScore, Stop, StopReason, Trial, UnknownTrial, Wait
from app.solve.deliberation import Deliberation, Rounds, deliberated, round_of

THOROUGH = Rounds(("a", "b", "c"), k=4, passes=2, confidence=None, target_score=None)
ADAPTIVE = Rounds(("a",), k=8, passes=2, confidence=0.95, target_score=None)

rounds = st.builds(
    Rounds,
    st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
    k=st.integers(1, 6),
    passes=st.integers(0, 3),
    confidence=st.none() | st.floats(0.6, 0.99),
    target_score=st.none() | st.just(1.0),
)
seeds = st.integers(0, 2**32 - 1)


def told(made: Deliberation, said: str | None, score: float | None = None) -> None:
    """The oldest trial in flight is answered."""
    made.hear(made.tell(made.in_flight[0].id, score, 1), said)


def asked(made: Deliberation) -> list[Trial]:
    """All trials that it gives before it waits or stops."""
    trials: list[Trial] = []
    while isinstance(step := made.ask(), Trial):
        trials.append(step)
    return trials


def driven(
    made: Deliberation,
    random: Random,
    *,
    steps: int = 200,
    heard: dict[int, str | None] | None = None,
) -> StopReason | None:
    """Answer, fail and ask in any order until it stops; None where it was cut short.

    What nodes said is written to `heard`.
    """
    heard = {} if heard is None else heard
    for _ in range(steps):
        in_flight = made.in_flight
        if in_flight and random.random() < 0.5:
            trial = random.choice(in_flight)
            if random.random() < 0.1:
                made.abandon(trial.id, 1, "failed")
            else:
                score = random.choice([None, 0.0, 0.5, 1.0])
                node, said = made.tell(trial.id, score, 1), random.choice([None, "x", "x", "y"])
                heard[node] = said
                made.hear(node, said)
        elif isinstance(step := made.ask(), Stop):
            return step.reason
    return None


def test_a_thorough_one_asks_every_round_in_full() -> None:
    """Twelve calls: experts take turns, each pass reads what was there when it began."""
    made = Deliberation(THOROUGH)
    ops: list[str] = []
    while trials := asked(made):
        ops += [made.op(trial.id) for trial in trials]
        assert isinstance(made.ask(), Wait)
        for trial in trials:
            assert trial.expert == "abc"[(trial.id - 1) % 3]
            told(made, f"{trial.id}")
    assert ops == [
        *("draft.1", "draft.2", "draft.3", "draft.4"),
        *("pass.1.1", "pass.1.2", "pass.1.3", "pass.1.4"),
        *("pass.2.1", "pass.2.2", "pass.2.3", "pass.2.4"),
    ]
    assert made.ask() == Stop(StopReason.PASSES)
    drafts, first, second = made.nodes[0], made.nodes[4], made.nodes[8]
    assert (drafts.parent, drafts.depth, drafts.reads) == (0, 1, ())
    assert (first.parent, first.depth, first.reads) == (1, 2, (1, 2, 3, 4))
    assert (second.parent, second.depth, second.reads) == (5, 3, (1, 2, 3, 4, 5, 6, 7, 8))
    assert [round_of(op) for op in ops] == [0] * 4 + [1] * 4 + [2] * 4


def test_four_drafts_alike_are_enough() -> None:
    """And no more than could be enough are in flight before."""
    made = Deliberation(ADAPTIVE)
    assert len(asked(made)) == 4
    for _ in range(3):
        told(made, "391")
        assert isinstance(made.ask(), Wait)
    told(made, "391")
    assert made.ask() == Stop(StopReason.AGREEMENT)
    assert made.last_round == 0


def test_pass_that_agrees_ends_what_drafts_left_open() -> None:
    """Its votes are counted by themselves."""
    made = Deliberation(ADAPTIVE)
    for number in range(8):
        while isinstance(made.ask(), Trial):
            pass
        told(made, f"{number % 3}")
    assert [trial.depth for trial in asked(made)] == [2] * 4
    for _ in range(4):
        told(made, "391")
    assert made.ask() == Stop(StopReason.AGREEMENT)
    assert made.vote_of(1).majority == 0.96875


def test_agreement_once_reached_stays() -> None:
    """What was in flight may disagree: it was not needed."""
    made = Deliberation(Rounds(("a",), k=8, passes=2, confidence=0.7, target_score=None))
    for _ in range(3):
        made.press_on()
    told(made, "391")
    assert made.ask() == Stop(StopReason.AGREEMENT)
    told(made, "7")
    told(made, "8")
    assert made.ask() == Stop(StopReason.AGREEMENT)


def test_unreadable_answers_agree_with_nothing() -> None:
    """They are votes, and none for each other."""
    made = Deliberation(ADAPTIVE)
    for _ in range(8):
        made.ask()
        told(made, None)
    assert isinstance(made.ask(), Trial)
    assert (made.vote_of(0).leading, made.vote_of(0).votes) == (0, 8)


def test_verified_answer_ends_it() -> None:
    """Agreement below the target does not, where a verifier decides."""
    made = Deliberation(Rounds(("a",), k=6, passes=1, confidence=None, target_score=1.0))
    assert len(asked(made)) == 6
    for _ in range(5):
        told(made, "wrong", 0.0)
    assert isinstance(made.ask(), Wait)
    told(made, "391", 1.0)
    assert made.ask() == Stop(StopReason.TARGET_SCORE)


def test_failed_draft_is_not_repeated_and_not_read() -> None:
    """The pass reads the others."""
    made = Deliberation(THOROUGH)
    asked(made)
    made.abandon(1, 1, "failed")
    for _ in range(3):
        told(made, "391")
    assert asked(made)[0].reads == (1, 2, 3)


def test_round_that_fails_in_full_ends_it() -> None:
    """There is nothing to read."""
    made = Deliberation(THOROUGH)
    for trial in asked(made):
        made.abandon(trial.id, 1, "failed")
    assert made.ask() == Stop(StopReason.EXPERTS_FAILED)


def test_answers_that_were_there_before_are_drafts() -> None:
    """The gate's: so many fewer are asked for, and the passes read them, too."""
    made = Deliberation(THOROUGH)
    for said in ("7", "8"):
        made.hear(made.adopt("a", None, 1), said)
    assert [made.op(trial.id) for trial in asked(made)] == ["draft.1", "draft.2"]
    for _ in range(2):
        told(made, "9")
    first = asked(made)[0]
    assert (made.op(first.id), first.reads) == ("pass.1.1", (1, 2, 3, 4))
    with pytest.raises(UnreadableLog):
        made.adopt("a", 0.5, 1)


@given(settings=rounds, seed=seeds)
def test_no_run_asks_more_than_it_may_or_begins_a_round_too_early(
    settings: Rounds, seed: int
) -> None:
    """Whatever comes back, and in whatever order."""
    made = Deliberation(settings)
    reason = driven(made, Random(seed), steps=400)
    assert reason is not None
    trials = [event.trial for event in made.log if isinstance(event, Asked)]
    assert len(trials) <= settings.k * (1 + settings.passes)
    assert len({made.op(trial.id) for trial in trials}) == len(trials)
    before = 0
    for node in made.nodes:
        assert node.depth >= before, "a round is complete before the next has an answer"
        before = node.depth
        assert all(made.nodes[read - 1].depth < node.depth for read in node.reads)
    if settings.confidence is None and settings.target_score is None:
        assert reason in {StopReason.PASSES, StopReason.EXPERTS_FAILED}


@given(settings=rounds, seed=seeds, cut=st.integers(0, 60))
def test_log_reopens_as_if_never_stopped(settings: Rounds, seed: int, cut: int) -> None:
    """Through its records; what was said is heard again, as it is read from the texts again."""
    made = Deliberation(settings)
    heard: dict[int, str | None] = {}
    driven(made, Random(seed), steps=cut, heard=heard)
    again = deliberated(settings, [decode(encode(event)) for event in made.log])
    for node, said in heard.items():
        again.hear(node, said)
    assert (again.log, again.nodes, again.in_flight) == (made.log, made.nodes, made.in_flight)
    assert driven(again, Random(seed)) == driven(made, Random(seed))
    assert again.log == made.log


def test_log_with_a_hole_is_refused() -> None:
    """Nothing is guessed."""
    made = Deliberation(THOROUGH)
    asked(made)
    told(made, "391")
    for log in (
        made.log[1:],
        [made.log[1]],
        [Asked(1, Trial(1, 0, "c", 1))],
        [Asked(1, Trial(2, 0, "a", 1))],
        [Told(1, 7, 0.5, 1)],
        [ExpertsSet(1, ("a",))],
    ):
        with pytest.raises(UnreadableLog):
            deliberated(THOROUGH, log)


def test_tell_of_what_is_not_in_flight_is_refused() -> None:
    """And a score that is none leaves its trial in flight."""
    made = Deliberation(THOROUGH)
    trial = asked(made)[0]
    with pytest.raises(InvalidScore):
        made.tell(trial.id, 1.5, 1)
    assert trial in made.in_flight
    for unknown in (0, 9):
        with pytest.raises(UnknownTrial):
            made.tell(unknown, None, 1)
