"""What an ended call is booked as: its bill, and what its provider said of it. Pure."""

from collections.abc import Sequence
from typing import Final

from app.ledger.journal import CallResult
from app.ledger.postings import Bill, CallState
from app.money import NanoUSD
from app.providers.completion import (
    Completion,
    Message,
    ProviderError,
    ProviderInvalidResponse,
    Usage,
)
from app.solve.plan import Seat

BYTES_PER_TOKEN: Final = 4
"""For the one estimate that is ever charged: an answer whose provider reported no usage."""


def failed(failure: ProviderError, seat: Seat) -> CallResult:
    """An attempt that gave no answer."""
    # What was written for nothing is billed all the same, where its provider says how much.
    usage = failure.usage if isinstance(failure, ProviderInvalidResponse) else None
    billed = _billed(usage, seat)
    return CallResult(
        Bill(CallState.FAILED, billed=billed, may_have_worked=failure.may_have_worked),
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        error=failure.detail[:200],
    )


def answered(completion: Completion, seat: Seat, messages: Sequence[Message]) -> CallResult:
    """An answer, billed by its usage, or by our own count where there is none."""
    usage, counted = completion.usage, counted_tokens(completion, seat, messages)
    return CallResult(
        Bill(CallState.OK, billed=_billed(usage, seat), counted=seat.price.cost(*counted)),
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        counted_tokens=sum(counted) if usage is None else 0,
        text=completion.text,
        finish_reason=completion.finish_reason,
        returned_model=completion.returned_model,
        provider_request_id=completion.provider_request_id,
    )


def _billed(usage: Usage | None, seat: Seat) -> NanoUSD | None:
    return None if usage is None else seat.price.cost(usage.input_tokens, usage.output_tokens)


def counted_tokens(
    completion: Completion, seat: Seat, messages: Sequence[Message]
) -> tuple[int, int]:
    """Our own count of a call's input and output tokens, for want of the provider's."""
    sent = sum(len(message.content.encode()) for message in messages)
    received = len(completion.text.encode())
    sent_tokens = sent // BYTES_PER_TOKEN + seat.expert.template_tokens
    return sent_tokens, -(-received // BYTES_PER_TOKEN)
