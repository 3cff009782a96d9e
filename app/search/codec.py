"""Events as flat records that JSON can carry, and back.

Every record says its version and kind. One that this program does not know is refused, never
skipped: a log with a hole would replay into a different search.
"""

from collections.abc import Mapping
from typing import TypeGuard

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
from app.search.trial import InvalidScore, Trial, valid_score

VERSION = 2
"""Version 2 says how likely each ask was."""
READABLE = (1, 2)


def encode(event: Event) -> dict[str, object]:
    """A flat record of strings, numbers and one list of either; what is None is left out."""
    head: dict[str, object] = {"v": VERSION, "seq": event.seq}
    match event:
        case Asked(trial=trial, probability=probability, widen=widen):
            chances = {"probability": probability, "widen": widen}
            return head | {
                "kind": "asked",
                "trial": trial.id,
                "parent": trial.parent,
                "expert": trial.expert,
                "depth": trial.depth,
                **{name: chance for name, chance in chances.items() if chance is not None},
                **({"reads": list(trial.reads)} if trial.reads else {}),
            }
        case Told(trial_id=trial_id, score=score, cost=cost):
            return head | {"kind": "told", "trial": trial_id, "score": score, "cost": cost}
        case Abandoned(trial_id=trial_id, cost=cost, reason=reason):
            return head | {"kind": "abandoned", "trial": trial_id, "cost": cost, "reason": reason}
        case Adopted(expert=expert, score=score, cost=cost):
            return head | {"kind": "adopted", "expert": expert, "score": score, "cost": cost}
        case Heard(expert=expert, cost=cost, trial_id=trial_id):
            asked = {} if trial_id is None else {"trial": trial_id}
            return head | {"kind": "heard", "expert": expert, "cost": cost} | asked
        case ExpertsSet(experts=experts):
            return head | {"kind": "experts_set", "experts": list(experts)}


def decode(record: Mapping[str, object]) -> Event:
    """The event that `encode` made `record` of; UnreadableLog for anything else."""
    fields = _Fields(record)
    version = fields.whole("v")
    if version not in READABLE:
        raise UnreadableLog(f"event of version {version}; this program reads {READABLE}")
    seq = fields.whole("seq")
    match fields.text("kind"):
        case "asked":
            trial = Trial(
                id=fields.whole("trial"),
                parent=fields.whole("parent"),
                expert=fields.text("expert"),
                depth=fields.whole("depth"),
                reads=fields.wholes("reads"),
            )
            return Asked(seq, trial, fields.probability(), fields.chance("widen"))
        case "told":
            return Told(seq, fields.whole("trial"), fields.score(), fields.whole("cost"))
        case "abandoned":
            return Abandoned(
                seq, fields.whole("trial"), fields.whole("cost"), fields.text("reason")
            )
        case "adopted":
            return Adopted(seq, fields.text("expert"), fields.score(), fields.whole("cost"))
        case "heard":
            asked = fields.whole("trial") if "trial" in record else None
            return Heard(seq, fields.text("expert"), fields.whole("cost"), asked)
        case "experts_set":
            return ExpertsSet(seq, fields.texts("experts"))
        case kind:
            raise UnreadableLog(f"event {seq}: unknown kind {kind!r}")


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return _is_list(value) and all(isinstance(text, str) for text in value)


def _is_wholes(value: object) -> TypeGuard[list[int]]:
    return _is_list(value) and all(type(number) is int for number in value)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


class _Fields:
    """Typed reading of an untyped record; what is missing or of another type is UnreadableLog."""

    def __init__(self, record: Mapping[str, object]) -> None:
        self._record = record

    def whole(self, name: str) -> int:
        value = self._record.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._unreadable(name)
        return value

    def wholes(self, name: str) -> tuple[int, ...]:
        value = self._record.get(name, [])
        if not _is_wholes(value):
            raise self._unreadable(name)
        return tuple(value)

    def text(self, name: str) -> str:
        value = self._record.get(name)
        if not isinstance(value, str):
            raise self._unreadable(name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._record.get(name)
        if not _is_texts(value):
            raise self._unreadable(name)
        return tuple(value)

    def probability(self) -> float | None:
        chance = self.chance("probability")
        if chance == 0.0:
            raise self._unreadable("probability")
        return chance

    def chance(self, name: str) -> float | None:
        return self._unit(name) if name in self._record else None

    def score(self) -> float:
        return self._unit("score")

    def _unit(self, name: str) -> float:
        try:
            return valid_score(self._record.get(name))
        except InvalidScore:
            raise self._unreadable(name) from None

    def _unreadable(self, name: str) -> UnreadableLog:
        seq = self._record.get("seq")
        return UnreadableLog(f"event {seq}: field {name!r} is missing or of the wrong type")
