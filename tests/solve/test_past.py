"""What a solve that was taken over has used: reported tokens, and our own count of the others."""

from dataclasses import replace

from app.ledger.postings import CallState
from app.ledger.price import Price
from app.money import NanoUSD
from app.providers.completion import Completion, FinishReason, Usage
from app.solve.attempt import CallLine, Past, Reply
from app.solve.past import tokens_of
from app.solve.plan import Seat
from app.solve.request import SolveRequest, Turn
from app.tenants.policy import Expert

REQUEST = SolveRequest(turns=(Turn("user", "x" * 40),), seed=0)
EXPERT = Expert(name="cheap", provider="p", model="m", max_output_tokens=100, template_tokens=3)
SEAT = Seat(EXPERT, Price("p", "m", NanoUSD(1), NanoUSD(1)), max_output_tokens=100)
LINE = CallLine(
    op="t1",
    attempt=1,
    expert="cheap",
    expert_version="",
    model="m",
    price_version="",
    state=CallState.OK,
    cost=NanoUSD(0),
    estimated=False,
    input_tokens=None,
    output_tokens=None,
)


def _past(line: CallLine) -> Past:
    usage = None
    if line.input_tokens is not None and line.output_tokens is not None:
        usage = Usage(line.input_tokens, line.output_tokens)
    completion = Completion("y" * 20, FinishReason.STOP, usage, returned_model="m")
    reply = Reply(line.op, "call", SEAT, completion, NanoUSD(0))
    return Past([line], {line.op: reply} if line.state is CallState.OK else {})


def test_reported_tokens_are_taken_as_they_are() -> None:
    """Whatever the answer's length."""
    assert tokens_of(_past(replace(LINE, input_tokens=7, output_tokens=9)), REQUEST) == 16


def test_unreported_tokens_of_an_answer_are_counted() -> None:
    """A token for four bytes each way, and the template's."""
    assert tokens_of(_past(LINE), REQUEST) == 40 // 4 + 3 + 20 // 4


def test_call_without_an_answer_has_used_none() -> None:
    """As far as anybody knows."""
    assert tokens_of(_past(replace(LINE, state=CallState.ORPHAN)), REQUEST) == 0
