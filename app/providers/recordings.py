"""Recorded answers of real models, read once and immutable after.

A file holds one JSON object a line, gzipped if its name ends in `.gz`:
`{"problem": ..., "model": ..., "samples": [{"text", "input_tokens", "output_tokens"}, ...]}`.
A sample may have a `score` in [0, 1], by whoever recorded it. Rows may carry other fields; they are
not read here. Nothing here draws a sample or calls a model.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import Field, TypeAdapter, ValidationError

_Tokens = Annotated[int, Field(strict=True, ge=0)]
_Score = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class BadRecordings(ValueError):
    """Recordings that cannot be used as written; `line` counts from 1, or is None for a file."""

    def __init__(self, source: str, line: int | None, detail: str) -> None:
        place = source if line is None else f"{source}, line {line}"
        super().__init__(f"{place}: {detail}")
        self.source, self.line, self.detail = source, line, detail


@dataclass(frozen=True, slots=True)
class Sample:
    """One recorded answer, with the tokens that one call for it is counted as.

    `score` is in [0, 1]; None where none was recorded.
    """

    text: str
    input_tokens: _Tokens
    output_tokens: _Tokens
    score: _Score | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    problem: Annotated[str, Field(pattern=r"\S")]
    model: Annotated[str, Field(min_length=1)]
    samples: Annotated[tuple[Sample, ...], Field(min_length=1)]


_ROW = TypeAdapter(_Row)


def normalise(problem: str) -> str:
    """The key of a problem: its text with each run of white space made one space."""
    return " ".join(problem.split())


class Recordings:
    """Samples by (problem, model); the problem is matched exactly but for white space."""

    def __init__(self, rows: Iterable[object], *, source: str = "recordings") -> None:
        """Check and keep parsed rows; `source` names them in a `BadRecordings`."""
        samples: dict[str, dict[str, tuple[Sample, ...]]] = {}
        for line, unchecked in enumerate(rows, start=1):
            row = _parse(unchecked, source, line)
            by_model = samples.setdefault(normalise(row.problem), {})
            if row.model in by_model:
                raise BadRecordings(
                    source, line, "expected one row a problem and model; an earlier row has both"
                )
            by_model[row.model] = row.samples
        if not samples:
            raise BadRecordings(source, None, "expected at least one row")
        self._samples = MappingProxyType(samples)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a `.jsonl` or `.jsonl.gz` file; raises `BadRecordings`, or OSError if unreadable."""
        return cls(_rows(path), source=str(path))

    @property
    def problems(self) -> tuple[str, ...]:
        """Every problem that has a recording, in the order of the rows."""
        return tuple(self._samples)

    def models(self, problem: str) -> tuple[str, ...]:
        """Models recorded on this problem; empty if the problem is unknown."""
        return tuple(self._samples.get(normalise(problem), ()))

    def samples(self, problem: str, model: str) -> tuple[Sample, ...]:
        """What the model answered, in recorded order; empty if that was not recorded."""
        return self._samples.get(normalise(problem), {}).get(model, ())


def _parse(unchecked: object, source: str, line: int) -> _Row:
    try:
        return _ROW.validate_python(unchecked)
    except ValidationError as failure:
        first = failure.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "row"
        raise BadRecordings(source, line, f"{place}: {first['msg']}") from None


def _rows(path: Path) -> Iterator[object]:
    for line, text in enumerate(_lines(path), start=1):
        try:
            yield json.loads(text)
        except json.JSONDecodeError as failure:
            detail = f"expected one JSON object a line, {failure.msg} at column {failure.colno}"
            raise BadRecordings(str(path), line, detail) from None


def _lines(path: Path) -> list[str]:
    packed = path.read_bytes()
    try:
        plain = gzip.decompress(packed) if path.suffix == ".gz" else packed
        # Not str.splitlines: JSON text may hold the line separators that it splits at.
        return plain.decode("utf-8").removesuffix("\n").split("\n") if plain else []
    except (gzip.BadGzipFile, EOFError, zlib.error) as failure:
        raise BadRecordings(str(path), None, f"expected gzip: {failure}") from None
    except UnicodeDecodeError as failure:
        raise BadRecordings(str(path), None, f"expected UTF-8: {failure.reason}") from None
