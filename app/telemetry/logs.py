"""One way for everything that is logged to reach standard error: ids, counts and money, no text.

What a library logs comes out in the same form. Of an exception only its type and where it was
raised are told: its message may hold a request, and so may its local variables.
"""

import logging
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Literal

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

FRAMES_MAX: Final = 50

TALKATIVE: Final = ("aiosqlite", "asyncio", "httpcore", "httpx", "alembic")
"""Libraries whose everyday news is not ours, and may hold a text: `asyncio` shows what tasks have
returned, and `aiosqlite` the parameters of every statement.
"""

SERVER: Final = ("uvicorn", "uvicorn.error", "uvicorn.access")


Level = Literal["debug", "info", "warning", "error"]
"""The least that is written."""

Form = Literal["json", "console"]
"""JSON for machines, one object a line; `console` for people."""


def configure(level: Level, form: Form) -> None:
    """Send our log and every library's to standard error. For the edge of a process, at start."""
    stream = sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    render: Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    common: Sequence[Processor] = (
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _shorten_exception,
    )
    structlog.configure(
        processors=[*common, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _first_line,
                render,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=number, force=True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    for name in SERVER:
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
    # We write one line a request ourselves, and its path is never in it.
    logging.getLogger("uvicorn.access").disabled = True


def described(error: BaseException) -> Mapping[str, object]:
    """What may be logged of an exception: its type and its causes', and where it was raised."""
    return {"exception": _lineage(error), "frames": _frames(error.__traceback__)}


def _shorten_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # Libraries, and whoever writes `log.exception`, hand over the exception itself.
    error = _error_of(event.pop("exc_info", None) or None)
    if error is not None:
        event.update(described(error))
    return event


def _error_of(exc_info: ExcInfo | BaseException | Literal[True] | None) -> BaseException | None:
    if exc_info is True:
        return sys.exception()
    return exc_info[1] if isinstance(exc_info, tuple) else exc_info


def _lineage(error: BaseException) -> str:
    names: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(names) < FRAMES_MAX:
        names.append(f"{type(cause).__module__}.{type(cause).__qualname__}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return " from ".join(names)


def _frames(trace: TracebackType | None) -> list[str]:
    found = traceback.extract_tb(trace)[-FRAMES_MAX:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in found]


def _first_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    # asyncio writes what a failed task raised into the lines below the first.
    event["event"] = str(event["event"]).partition("\n")[0]
    return event
