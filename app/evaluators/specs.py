"""What a caller may ask of the evaluators: the API's published schema, and the stored form.

These models check form. What needs more (a reference that leaves a schema, two options alike) is
refused when the evaluator is built.
"""

from enum import StrEnum
from typing import Annotated, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field

from app.evaluators.choice import ChoiceConfig
from app.evaluators.exact import ExactConfig
from app.evaluators.expression import ExpressionConfig
from app.evaluators.json_schema import JsonSchemaConfig
from app.evaluators.numeric import NumericConfig
from app.evaluators.recorded import RecordedConfig
from app.evaluators.scale import RIGHT_OR_WRONG, Scale, one_of, staged, weighted

EVALUATORS_MAX = 8


class Combine(StrEnum):
    """How the scores of several evaluators become one."""

    WEIGHTED = "weighted"
    ALL = "all"
    ANY = "any"
    CASCADE = "cascade"


EvaluatorId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Names the evaluator in results; its type unless given. Unique in a panel.",
    ),
]


class SpecBase(BaseModel):
    """What every evaluator can be told, whatever its type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(
        default=1.0,
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description="Its share in a weighted mean; other ways to combine ignore it.",
    )
    required: bool = Field(
        default=False,
        description="It must run: if it fails, the answer has no score. One that is not required "
        "and fails is left out.",
    )
    pass_score: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="The score it must reach for an answer to pass, and for a cascade to go on "
        "(there 1.0 unless given).",
    )


class ExactSpec(SpecBase):
    """The answer equals an expected string."""

    type: Literal["exact"]
    id: EvaluatorId = "exact"
    config: ExactConfig


class ExpressionSpec(SpecBase):
    """The answer is arithmetic over given numbers that reaches a target, graded when it misses."""

    type: Literal["expression"]
    id: EvaluatorId = "expression"
    config: ExpressionConfig


class NumericSpec(SpecBase):
    """The answer is a number within a tolerance."""

    type: Literal["numeric"]
    id: EvaluatorId = "numeric"
    config: NumericConfig


class ChoiceSpec(SpecBase):
    """The answer chooses one option, by letter or by text."""

    type: Literal["choice"]
    id: EvaluatorId = "choice"
    config: ChoiceConfig


class JsonSchemaSpec(SpecBase):
    """The answer is JSON of a given form; whether it is right, this cannot say."""

    type: Literal["json_schema"]
    id: EvaluatorId = "json_schema"
    config: JsonSchemaConfig


class RecordedSpec(SpecBase):
    """The answer's own score in the recordings; only for experts whose answers are recorded."""

    type: Literal["recorded"]
    id: EvaluatorId = "recorded"
    config: RecordedConfig = RecordedConfig()


EvaluatorSpec = Annotated[
    ExactSpec | ExpressionSpec | NumericSpec | ChoiceSpec | JsonSchemaSpec | RecordedSpec,
    Field(discriminator="type"),
]


def is_decisive(spec: EvaluatorSpec) -> bool:
    """Whether a full score means that the answer is right, and not only well formed."""
    match spec:
        case ExactSpec() | ExpressionSpec() | NumericSpec() | ChoiceSpec() | RecordedSpec():
            return True
        case JsonSchemaSpec():
            return False
        case _:
            assert_never(spec)


def scale(spec: EvaluatorSpec) -> Scale:
    """What scores it can give."""
    match spec:
        case ExactSpec() | NumericSpec() | ChoiceSpec() | JsonSchemaSpec():
            return RIGHT_OR_WRONG
        case ExpressionSpec() | RecordedSpec():
            return Scale()
        case _:
            assert_never(spec)


class PanelSpec(BaseModel):
    """The evaluators of a solve, and how their scores are combined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluators: tuple[EvaluatorSpec, ...] = Field(min_length=1, max_length=EVALUATORS_MAX)
    combine: Combine = Combine.WEIGHTED

    @property
    def is_decisive(self) -> bool:
        """Whether a full score of the panel means that the answer is right."""
        verdicts = [is_decisive(spec) for spec in self.evaluators]
        return all(verdicts) if self.combine is Combine.ANY else any(verdicts)

    @property
    def scale(self) -> Scale:
        """What scores the panel can give; where an evaluator fails and is left out, others."""
        scales = [scale(spec) for spec in self.evaluators]
        match self.combine:
            case Combine.WEIGHTED:
                return weighted(scales, [spec.weight for spec in self.evaluators])
            case Combine.ALL | Combine.ANY:
                return one_of(scales)
            case Combine.CASCADE:
                return staged(scales)
