"""The conversations sent upstream. Pure.

What is the same for every call of a solve comes first, so that a provider's prompt cache hits; what
differs (the attempt to refine, its faults) comes last.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from app.providers.completion import Message
from app.solve.request import SolveRequest, Turn
from app.tenants.policy import Expert

MESSAGE_OVERHEAD_TOKENS: Final = 16
"""More than any chat template adds around one message."""

REFINE: Final = """\
That answer is not right yet.
{faults}
Give a better answer to the same problem, in the same form."""

NO_FAULTS: Final = "Check it again from the beginning."


def fresh(request: SolveRequest, expert: Expert) -> list[Message]:
    """Ask for a new answer."""
    system = "\n\n".join(text for text in (expert.instructions, request.instructions) if text)
    head = [Message("system", system)] if system else []
    return head + [_message(turn) for turn in request.turns]


def refine(request: SolveRequest, expert: Expert, *, answer: str, feedback: str) -> list[Message]:
    """Ask for a better answer than `answer`, whose faults are `feedback`."""
    wish = REFINE.format(faults=feedback or NO_FAULTS)
    return [*fresh(request, expert), Message("assistant", answer), Message("user", wish)]


def input_tokens_max(messages: Sequence[Message], template_tokens: int) -> int:
    """A bound on the input tokens of a call; no tokenizer splits a text into more than its bytes.

    Bytes / 4 would be an estimate, not a bound: recorded prompts reach one token a byte.
    """
    written = sum(len(message.content.encode()) for message in messages)
    return written + MESSAGE_OVERHEAD_TOKENS * len(messages) + template_tokens


def fingerprint(messages: Sequence[Message]) -> str:
    """The hash under which a prompt is journalled."""
    turns = [[message.role, message.content] for message in messages]
    return hashlib.sha256(json.dumps(turns, separators=(",", ":")).encode()).hexdigest()


def _message(turn: Turn) -> Message:
    match turn.role:
        case "system" | "user" | "assistant":
            return Message(turn.role, turn.text)
        case _:
            raise AssertionError(f"a role that no schema lets through: {turn.role}")
