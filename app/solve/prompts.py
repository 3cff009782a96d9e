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

READ: Final = """\
Others have answered this problem before:

{drafts}

Any of them may be wrong, even where they agree. Find what is sound in them and where they go wrong,
then solve the problem yourself. Give one answer, in the form that the problem asks for."""

DRAFT_BYTES_MAX: Final = 4_000
"""Of each draft that is read: its end, where its conclusion is. It bounds what a pass can cost."""

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


def read(request: SolveRequest, expert: Expert, drafts: Sequence[str]) -> list[Message]:
    """Ask for a new answer by one that has read these; what they say ends the problem's own turn.

    Not in a turn of their own: templates of some models refuse two turns of one side.
    """
    *before, last = fresh(request, expert)
    shown = "\n\n".join(
        f'<draft number="{number}">\n{_end_of(draft)}\n</draft>'
        for number, draft in enumerate(drafts, start=1)
    )
    return [*before, Message(last.role, f"{last.content}\n\n{READ.format(drafts=shown)}")]


def longest_reading(request: SolveRequest, expert: Expert, drafts: int) -> list[Message]:
    """As `read`, of so many drafts that are as long as any is shown."""
    return read(request, expert, ["." * DRAFT_BYTES_MAX] * drafts)


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


def _end_of(draft: str) -> str:
    # Cut between bytes, so what is left of a cut character goes.
    return draft.encode()[-DRAFT_BYTES_MAX:].decode(errors="ignore")


def _message(turn: Turn) -> Message:
    match turn.role:
        case "system" | "user" | "assistant":
            return Message(turn.role, turn.text)
        case _:
            raise AssertionError(f"a role that no schema lets through: {turn.role}")
