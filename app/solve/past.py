"""What a solve's journal says has happened, in the form in which a run goes on from it. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from app.ledger.journal import text_name
from app.ledger.postings import CallState
from app.ledger.records import CallRecord
from app.money import NanoUSD
from app.providers.completion import Completion, FinishReason, Usage
from app.solve.attempt import CallLine, Past, Reply
from app.solve.charging import counted_tokens
from app.solve.plan import Plan, Seat
from app.solve.prompts import fresh
from app.solve.request import SolveRequest


def plan_from(document: Mapping[str, Any]) -> Plan:
    """The plan that was stored when the solve was admitted, at the prices of then."""
    return msgspec.convert(document, Plan)


def past_of(plan: Plan, calls: Sequence[CallRecord], texts: Mapping[str, str]) -> Past:
    """The lines and replies of the journal."""
    seats = [plan.first, plan.second, *plan.searchers]
    seats += [] if plan.strong is None else [plan.strong]
    by_expert = {seat.expert.name: seat for seat in seats}
    lines = [line_of(call) for call in calls]
    spent = Counter[str]()
    for line in lines:
        spent[line.op] += line.cost
    replies = {
        call.op: reply_of(
            call, by_expert[call.expert], texts[text_name(call.op)], NanoUSD(spent[call.op])
        )
        for call in calls
        if call.state is CallState.OK
    }
    return Past(lines, replies)


def tokens_of(past: Past, request: SolveRequest) -> int:
    """The tokens that were used: as reported, and our own count of answers where none were.

    That count takes each for a fresh answer; what a refined one was sent beside is not kept.
    """
    reported = sum((line.input_tokens or 0) + (line.output_tokens or 0) for line in past.lines)
    silent = [reply for reply in past.replies.values() if reply.completion.usage is None]
    return reported + sum(
        sum(counted_tokens(reply.completion, reply.seat, fresh(request, reply.seat.expert)))
        for reply in silent
    )


def line_of(call: CallRecord) -> CallLine:
    """A call as it appears on the bill."""
    return CallLine(
        op=call.op,
        attempt=call.attempt,
        expert=call.expert,
        expert_version=call.expert_version,
        model=call.model,
        price_version=call.price_version,
        state=call.state,
        cost=call.cost,
        estimated=call.estimated,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        error=call.error,
    )


def reply_of(call: CallRecord, seat: Seat, text: str, cost: NanoUSD) -> Reply:
    """The reply of an answered call; `cost` is what the attempts before it came to, and it."""
    usage = None
    if call.input_tokens is not None and call.output_tokens is not None:
        usage = Usage(call.input_tokens, call.output_tokens)
    completion = Completion(
        text=text,
        finish_reason=FinishReason(call.finish_reason or FinishReason.STOP),
        usage=usage,
        returned_model=call.model,
    )
    return Reply(call.op, call.id, seat, completion, cost)
