"""What earlier searches taught, as pseudo-counts that a new one starts with.

Counts and not conclusions: they are added to what the search sees itself, and so lose their weight
as it goes on. Experience of one category of problems says little of another; keep them apart.
"""

from dataclasses import dataclass

from app.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class SkillExperience:
    """Of one expert: counts and sums as in `Skills`, each scaled by what it should weigh."""

    expert: str
    fresh: tuple[float, float, float]
    """Fresh answers, the sum and the sum of squares of their scores."""
    steps: tuple[float, float, float, float]
    """Refinements, those that gained, the sum and the sum of squares of their gains."""

    def __post_init__(self) -> None:
        answers, total, squares = self.fresh
        tries, gains, gained, gained_squares = self.steps
        fits = (
            0 <= squares <= total <= answers
            and total * total <= squares * answers * (1 + 1e-9)
            and 0 <= gains <= tries
            and 0 <= gained_squares <= gained <= gains
        )
        if not fits:
            raise InvalidRequest("experience", f"of {self.expert}: no scores add up to this")

    def weighing(self, answers: float, steps: float) -> "SkillExperience":
        """The same, with no more weight than this many answers and refinements."""
        by_answers = min(1.0, answers / max(self.fresh[0], 1e-9))
        by_steps = min(1.0, steps / max(self.steps[0], 1e-9))
        return SkillExperience(
            self.expert,
            (self.fresh[0] * by_answers, self.fresh[1] * by_answers, self.fresh[2] * by_answers),
            (
                self.steps[0] * by_steps,
                self.steps[1] * by_steps,
                self.steps[2] * by_steps,
                self.steps[3] * by_steps,
            ),
        )


@dataclass(frozen=True, slots=True)
class Experience:
    """Of all experts, and of ceilings: how many were met, in how much score climbed."""

    skills: tuple[SkillExperience, ...]
    ceilings: float = 0.0
    risen: float = 0.0

    def __post_init__(self) -> None:
        if not (self.ceilings >= 0 and self.risen >= 0):
            raise InvalidRequest("experience", "ceilings and risen are at least 0")

    def weighing(self, answers: float, steps: float, ceilings: float) -> "Experience":
        """The same, weighing no more than so many answers and steps an expert, and ceilings."""
        by_ceilings = min(1.0, ceilings / max(self.ceilings, 1e-9))
        return Experience(
            tuple(skill.weighing(answers, steps) for skill in self.skills),
            self.ceilings * by_ceilings,
            self.risen * by_ceilings,
        )
