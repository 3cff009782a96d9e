"""The conversations sent upstream, and the bound on what they can cost."""

from hypothesis import given
from hypothesis import strategies as st

from app.ledger.price import Price
from app.money import NanoUSD
from app.providers.completion import Message
from app.solve.plan import Seat
from app.solve.prompts import fingerprint, fresh, input_tokens_max, refine
from app.solve.request import SolveRequest, Turn
from app.tenants.policy import Expert

EXPERT = Expert("cheap", "p", "m", max_output_tokens=100, instructions="Be brief.")
REQUEST = SolveRequest(
    turns=(Turn("user", "2 + 2?"), Turn("assistant", "5"), Turn("user", "No. 2 + 2?")),
    seed=0,
    instructions="Answer with a number.",
)

texts = st.text(st.characters(codec="utf-8"), max_size=60)
conversations = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), max_size=5
)
rates = st.integers(0, 10**11).map(NanoUSD)
expert_prices = st.builds(
    Price, provider=st.just("p"), model=st.just("m"), input=rates, output=rates
)


def test_fresh_prompt_starts_with_what_every_call_shares() -> None:
    """The expert's instructions and the caller's, then the conversation as it was."""
    assert fresh(REQUEST, EXPERT) == [
        Message("system", "Be brief.\n\nAnswer with a number."),
        Message("user", "2 + 2?"),
        Message("assistant", "5"),
        Message("user", "No. 2 + 2?"),
    ]


def test_prompt_without_instructions_has_no_system_message() -> None:
    """Not even an empty one."""
    plain = SolveRequest(turns=(Turn("user", "2 + 2?"),), seed=0)
    silent = Expert("cheap", "p", "m", max_output_tokens=100)
    assert fresh(plain, silent) == [Message("user", "2 + 2?")]


def test_refining_continues_the_fresh_prompt() -> None:
    """The same beginning, so that a prompt cache hits; then the answer and its faults."""
    refined = refine(REQUEST, EXPERT, answer="5", feedback="5 is not 4")
    assert refined[:-2] == fresh(REQUEST, EXPERT)
    assert refined[-2] == Message("assistant", "5")
    assert refined[-1].role == "user"
    assert "5 is not 4" in refined[-1].content


def test_refining_without_feedback_still_asks_for_something() -> None:
    """A fault is named even where the evaluator named none."""
    (_, wish) = refine(REQUEST, EXPERT, answer="5", feedback="")[-2:]
    assert "Check it again" in wish.content


@given(conversations, st.integers(0, 1_000))
def test_no_tokenizer_finds_more_tokens_than_the_bound(
    messages: list[Message], template_tokens: int
) -> None:
    """Even one that makes a token of every byte, and frames every message with ten."""
    one_a_byte = sum(len(message.content.encode()) + 10 for message in messages)
    assert input_tokens_max(messages, template_tokens) >= one_a_byte + template_tokens


@given(
    messages=conversations,
    price=expert_prices,
    share_in=st.floats(0, 1),
    share_out=st.floats(0, 1),
)
def test_no_call_within_its_bounds_costs_more_than_its_worst_case(
    messages: list[Message], price: Price, share_in: float, share_out: float
) -> None:
    """Whatever the tokens used turn out to be, to the nano-dollar."""
    seat = Seat(EXPERT, price, max_output_tokens=100)
    tokens_in = int(input_tokens_max(messages, 0) * share_in)
    used = price.cost(tokens_in, int(100 * share_out))
    assert used <= seat.worst_case(messages)
    assert tokens_in + int(100 * share_out) <= seat.tokens_max(messages)


@given(conversations, conversations)
def test_fingerprints_differ_where_prompts_do(first: list[Message], second: list[Message]) -> None:
    """And only there: roles and boundaries count, too."""
    assert (fingerprint(first) == fingerprint(second)) is (first == second)
