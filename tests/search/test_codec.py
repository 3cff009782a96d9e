import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.search.codec import decode, encode
from app.search.events import (
    Abandoned,
    Adopted,
    Asked,
    Event,
    ExpertsSet,
    Heard,
    Told,
    UnreadableLog,
)
from app.search.trial import Trial
from tests.search.driving import scores

whole = st.integers(0, 2**63 - 1)
text = st.text(max_size=20)
chances = st.none() | st.floats(0, 1, exclude_min=True)

events = st.one_of(
    st.builds(
        Asked,
        whole,
        st.builds(Trial, whole, whole, text, whole, st.lists(whole, max_size=3).map(tuple)),
        chances,
        st.none() | scores,
    ),
    st.builds(Told, whole, whole, scores, whole),
    st.builds(Abandoned, whole, whole, whole, text),
    st.builds(Adopted, whole, text, scores, whole),
    st.builds(Heard, whole, text, whole, st.none() | whole),
    st.builds(ExpertsSet, whole, st.lists(text, max_size=3).map(tuple)),
)

TOLD: dict[str, object] = {
    "v": 1, "seq": 2, "kind": "told", "trial": 1, "score": 0.5, "cost": 30
}  # fmt: skip

ASKED: dict[str, object] = {
    "v": 1, "seq": 1, "kind": "asked", "trial": 1, "parent": 0, "expert": "m0", "depth": 1
}  # fmt: skip


@given(events)
def test_event_survives_json(event: Event) -> None:
    """To the last bit of a score."""
    assert decode(json.loads(json.dumps(encode(event)))) == event


def test_record_is_what_it_was() -> None:
    """Logs written by this version are still to be read: its format is not ours to change."""
    assert encode(Told(2, 1, 0.5, 30)) == TOLD | {"v": 2}
    assert encode(Asked(1, Trial(1, 0, "m0", 1), 0.25, 0.5)) == ASKED | {
        "v": 2, "probability": 0.25, "widen": 0.5
    }  # fmt: skip


def test_log_of_version_1_still_loads() -> None:
    """Nobody wrote down then how likely a choice was."""
    assert decode(TOLD) == Told(2, 1, 0.5, 30)
    assert decode(ASKED) == Asked(1, Trial(1, 0, "m0", 1), probability=None, widen=None)


def test_unknown_chance_is_left_out() -> None:
    """A record holds no null."""
    assert encode(Asked(1, Trial(1, 0, "m0", 1))) == ASKED | {"v": 2}


@pytest.mark.parametrize("chance", [0.0, -0.1, 1.5, float("nan"), "0.5", None])
def test_probability_that_cannot_be_is_refused(chance: object) -> None:
    """What was chosen had a chance."""
    with pytest.raises(UnreadableLog, match="'probability'"):
        decode(ASKED | {"v": 2, "probability": chance})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"v": 3}, "version 3"),
        ({"v": None}, "'v'"),
        ({"kind": "scored"}, "unknown kind 'scored'"),
        ({"kind": 3}, "'kind'"),
        ({"seq": "2"}, "'seq'"),
        ({"trial": True}, "'trial'"),
        ({"cost": 1.5}, "'cost'"),
        ({"score": 1.5}, "'score'"),
        ({"score": float("nan")}, "'score'"),
        ({"score": "0.5"}, "'score'"),
        ({"kind": "abandoned"}, "'reason'"),
        ({"kind": "experts_set", "experts": "m0"}, "'experts'"),
        ({"kind": "experts_set", "experts": ["m0", 1]}, "'experts'"),
    ],
)
def test_record_that_cannot_be_read_is_refused(change: dict[str, object], complaint: str) -> None:
    """The refusal says which part it does not understand; nothing is skipped or guessed."""
    with pytest.raises(UnreadableLog, match=complaint):
        decode(TOLD | change)


def test_whole_score_is_a_score() -> None:
    """Some JSON writers, Redis's among them, turn 1.0 into 1."""
    assert decode(TOLD | {"score": 1}) == Told(2, 1, 1.0, 30)
