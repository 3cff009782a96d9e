"""From what a caller asked for to what scores: one match over the closed set of types."""

from typing import assert_never

from app.evaluators.choice import Choice
from app.evaluators.evaluation import Evaluator
from app.evaluators.exact import Exact
from app.evaluators.expression import Expression
from app.evaluators.json_schema import JsonSchema
from app.evaluators.numeric import Numeric
from app.evaluators.recorded import Recorded
from app.evaluators.specs import (
    ChoiceSpec,
    EvaluatorSpec,
    ExactSpec,
    ExpressionSpec,
    JsonSchemaSpec,
    NumericSpec,
    RecordedSpec,
)


def build(spec: EvaluatorSpec) -> Evaluator:
    """The evaluator that `spec` describes; `InvalidRequest` names the part of it to change."""
    match spec:
        case ExactSpec(config=config):
            return Exact(config)
        case ExpressionSpec(config=config):
            return Expression(config)
        case NumericSpec(config=config):
            return Numeric(config)
        case ChoiceSpec(config=config):
            return Choice(config)
        case JsonSchemaSpec(config=config):
            return JsonSchema(config)
        case RecordedSpec():
            return Recorded()
        case _:
            assert_never(spec)
