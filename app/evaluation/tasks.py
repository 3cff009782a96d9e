"""The tasks of a comparison: a JSON Lines file (`.gz` too), one task a line.

    {"id": "gsm8k-0", "input": "Janet's ducks lay …", "expected": 18, "category": "arithmetic"}

`id` and `input` (a text, or messages as `/v1/solve` takes them) are required, and so is something
to grade by: `expected`, where a number is compared as one and a text, or a list of texts, by
equality; or `evaluators`, as `/v1/solve` takes them. An evaluator of `visibility` `final`, which is
the default, grades the answer afterwards and is never sent; one of `search` is sent, so that gate
and search may climb by it, and grades where there is no final one. `instructions`, `combine`,
`answer`, `max_output_tokens`, `temperature`, `response_format` and `metadata` are sent as they are;
`category` is sent as metadata, and results are told by it.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from app.answers.extract import Extract
from app.errors import InvalidRequest
from app.evaluators.panel import Panel
from app.evaluators.specs import Combine, PanelSpec

SHAPE: Final = 'a line is one JSON object such as {"id": "1", "input": "2+2?", "expected": 4}'
RECORDED: Final = "recorded"
"""The type of evaluator that tells the score which a recorded sample came with."""

Json = dict[str, Any]
Grading = Panel | Literal["recorded", "gateway"]
"""By what an answer is graded: here, by the sample's own score, or by what the gateway said."""


class _Part(BaseModel):
    text: str


class _Message(BaseModel):
    """All that is read of a message here; the rest of it is the gateway's to check."""

    content: str | list[_Part]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable, and one line")
    return text


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    extract: Extract | None = None


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
    input: Annotated[str, Field(min_length=1)] | Annotated[list[Json], Field(min_length=1)]
    instructions: str | None = None
    expected: StrictInt | StrictFloat | StrictStr | list[StrictStr] | None = None
    evaluators: list[Json] = Field(default_factory=list[Json])
    combine: Combine = Combine.WEIGHTED
    category: Annotated[str, Field(max_length=512), AfterValidator(_printable)] | None = None
    metadata: dict[str, str] = Field(default_factory=dict[str, str])
    answer: _Answer = _Answer()
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float | None = None
    response_format: Json | None = None

    @model_validator(mode="after")
    def _can_be_graded(self) -> "_Line":
        if self.expected is None and not self.evaluators:
            raise ValueError("nothing to grade by: give `expected`, or `evaluators`")
        return self


@dataclass(frozen=True, slots=True)
class Task:
    """A problem, what is sent of it whatever the strategy, and what its answer is graded by."""

    id: str
    category: str | None
    problem: str
    extract: Extract | None
    body: Mapping[str, Any]
    grading: Grading

    @property
    def is_scored(self) -> bool:
        """Whether the gateway is sent anything that could score an answer."""
        return "evaluators" in self.body


@dataclass(frozen=True, slots=True)
class TaskFile:
    """The tasks in the order of the lines, and a hash of all that was written."""

    tasks: tuple[Task, ...]
    sha256: str


def read_tasks(path: Path) -> TaskFile:
    """The tasks of a file. Raises InvalidRequest naming the line and what to change."""
    text = _text(path)
    tasks: dict[str, Task] = {}
    # Not str.splitlines: JSON text may hold the line separators that it splits at.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            task = _task(_Line.model_validate(json.loads(line)))
        except (ValueError, InvalidRequest) as fault:
            said = f"{path}, line {number}: {_said(fault)}; {SHAPE}"
            raise InvalidRequest("tasks", said) from None
        if task.id in tasks:
            raise InvalidRequest(
                "tasks", f"{path}, line {number}: id {task.id!r} is an earlier line's; change one"
            )
        tasks[task.id] = task
    if not tasks:
        raise InvalidRequest("tasks", f"{path}: is empty; {SHAPE}")
    return TaskFile(tuple(tasks.values()), hashlib.sha256(text.encode()).hexdigest())


def _text(path: Path) -> str:
    try:
        packed = path.read_bytes()
        return (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8")
    except OSError as error:
        why = error.strerror or "is not gzip"
        raise InvalidRequest("tasks", f"{path}: {why}") from None
    except (EOFError, zlib.error, UnicodeDecodeError):
        raise InvalidRequest(
            "tasks", f"{path}: is not UTF-8, or not gzip as its name says"
        ) from None


def _said(fault: ValueError | InvalidRequest) -> str:
    if isinstance(fault, json.JSONDecodeError):
        return f"not JSON, {fault.msg} at column {fault.colno}"
    if not isinstance(fault, ValidationError):
        return str(fault)
    first = fault.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def _task(line: _Line) -> Task:
    shown = [_bare(spec) for spec in line.evaluators if _visibility(spec) == "search"]
    final = [_bare(spec) for spec in line.evaluators if _visibility(spec) == "final"]
    metadata = line.metadata | ({} if line.category is None else {"category": line.category})
    sent = {
        "input": line.input,
        "instructions": line.instructions,
        "evaluators": shown or None,
        "combine": line.combine if shown else None,
        "metadata": metadata or None,
        "answer": line.answer.model_dump(mode="json") if line.answer.extract else None,
        "max_output_tokens": line.max_output_tokens,
        "temperature": line.temperature,
        "response_format": line.response_format,
    }
    return Task(
        id=line.id,
        category=line.category,
        problem=_problem(line.input),
        extract=line.answer.extract,
        body={name: value for name, value in sent.items() if value is not None},
        grading=_grading(line, final),
    )


def _visibility(spec: Json) -> str:
    seen = spec.get("visibility", "final")
    if seen not in {"final", "search"}:
        raise ValueError(f"evaluators: visibility {seen!r} is neither 'final' nor 'search'")
    return str(seen)


def _bare(spec: Json) -> Json:
    return {name: value for name, value in spec.items() if name != "visibility"}


def _grading(line: _Line, final: list[Json]) -> Grading:
    if line.expected is not None:
        final = [*final, _equality(line.expected)]
    if not final:
        return "gateway"
    if any(spec.get("type") == RECORDED for spec in final):
        if len(final) > 1:
            raise ValueError("evaluators: a final `recorded` one grades alone; leave the rest out")
        return RECORDED
    panel = PanelSpec.model_validate({"evaluators": final, "combine": line.combine})
    return Panel(panel.evaluators, panel.combine)


def _equality(expected: float | str | list[str]) -> Json:
    if isinstance(expected, int | float):
        return {"type": "numeric", "id": "expected", "config": {"expected": str(expected)}}
    return {"type": "exact", "id": "expected", "config": {"expected": expected}}


def _problem(sent: str | list[Json]) -> str:
    """The caller's own words, as the gateway reads them: the last message's text."""
    if isinstance(sent, str):
        return sent
    content = _Message.model_validate(sent[-1]).content
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content)
