import json
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers import chat_reply
from app.providers.completion import Completion, FinishReason, ProviderInvalidResponse, Usage
from tests.providers.upstream import Json, completion

TOP: Final = 2**31 - 1
"""The most tokens that a column of the journal holds."""


def read(document: object, *, request_id: str | None = None) -> Completion:
    """The completion that a document is."""
    body = json.dumps(document).encode()
    return chat_reply.read("acme", body, model="asked", request_id=request_id)


def usage_of(**counted: object) -> Usage | None:
    """The usage that is read from these counts, and nothing else."""
    return read(completion(usage=counted)).usage


# -- Usage -----------------------------------------------------------------------------------------


def test_explicit_zero_is_zero() -> None:
    """A provider's zero wins over any estimate."""
    assert usage_of(prompt_tokens=0, completion_tokens=0) == Usage(0, 0)
    details: Json = {
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    counted = usage_of(prompt_tokens=5, completion_tokens=1, **details)
    assert counted == Usage(5, 1, cached_tokens=0, reasoning_tokens=0)


@pytest.mark.parametrize("count", [-1, 1.5, 2.0, "7", None, True, [], TOP + 1, 10**30])
def test_count_that_is_none_leaves_no_usage(count: object) -> None:
    """Half a usage would be billed as if the other half were free."""
    assert usage_of(prompt_tokens=count, completion_tokens=1) is None
    assert usage_of(prompt_tokens=1, completion_tokens=count) is None


@pytest.mark.parametrize(
    "usage", [None, {}, [], "none", {"prompt_tokens": 3}, {"completion_tokens": 3}]
)
def test_missing_usage_leaves_the_answer(usage: object) -> None:
    """It is an answer whose cost has to be estimated."""
    answer = read(completion(usage=usage))
    assert answer.text == "24"
    assert answer.usage is None


@pytest.mark.parametrize("details", [None, [], {"cached_tokens": -1}, {"cached_tokens": "x"}, {}])
def test_malformed_detail_costs_only_the_detail(details: object) -> None:
    """The totals stand without it."""
    counted = usage_of(prompt_tokens=3, completion_tokens=2, prompt_tokens_details=details)
    assert counted == Usage(3, 2)


def test_reasoning_counted_beside_the_completion_is_added() -> None:
    """XAI's way: what the total shows to be apart was written, and is billed, too."""
    reasoning: Json = {"completion_tokens_details": {"reasoning_tokens": 94}}
    apart = usage_of(prompt_tokens=32, completion_tokens=9, total_tokens=135, **reasoning)
    assert apart == Usage(32, 103, reasoning_tokens=94)


def test_reasoning_counted_within_the_completion_is_not_added() -> None:
    """OpenAI's way, and the way of whoever gives no total."""
    reasoning: Json = {"completion_tokens_details": {"reasoning_tokens": 94}}
    for total in (135, 0, None, "x"):
        within = usage_of(prompt_tokens=32, completion_tokens=103, total_tokens=total, **reasoning)
        assert within == Usage(32, 103, reasoning_tokens=94)


# -- Finish and refusal ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("model_length", FinishReason.LENGTH),
        ("content_filter", FinishReason.CONTENT_FILTER),
    ],
)
def test_reason_is_ours(said: str, reason: FinishReason) -> None:
    """The reasons that leave a text to read."""
    assert read(completion("half", finish_reason=said)).finish_reason is reason


@pytest.mark.parametrize("said", ["length", "content_filter"])
def test_text_may_be_missing_where_the_reason_explains_it(said: str) -> None:
    """All tokens went into reasoning, or the filter left nothing; both are paid for."""
    answer = read(completion(None, finish_reason=said))
    assert answer.text == ""
    assert answer.usage is not None


def test_empty_text_is_an_answer() -> None:
    """A poor one, but the model's own."""
    assert read(completion("")).text == ""


def test_refusal_is_the_text_of_an_answer_that_was_filtered() -> None:
    """The vendor reports it with finish_reason stop and no content."""
    document = completion(None)
    document["choices"][0]["message"]["refusal"] = "I cannot help with that."
    answer = read(document)
    assert answer.text == "I cannot help with that."
    assert answer.finish_reason is FinishReason.CONTENT_FILTER


def test_empty_refusal_is_none() -> None:
    """Some servers send the field with nothing in it."""
    document = completion("24")
    document["choices"][0]["message"]["refusal"] = ""
    assert read(document).finish_reason is FinishReason.STOP


# -- Names and texts -------------------------------------------------------------------------------


def test_header_names_the_request_and_the_document_where_there_is_none() -> None:
    """The header is what the vendor's support asks for."""
    assert read(completion(), request_id="req_7").provider_request_id == "req_7"
    assert read(completion()).provider_request_id == "chatcmpl-1"
    assert read(completion(id=None)).provider_request_id is None


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 129, "\u202e"])
def test_name_unfit_for_a_log_is_dropped(name: str) -> None:
    """A name is what the vendor likes; it reaches databases and terminals."""
    answer = read(completion(model=name, id=name), request_id=name)
    assert answer.returned_model == "asked"
    assert answer.provider_request_id is None


def test_character_that_no_database_holds_is_replaced() -> None:
    """PostgreSQL refuses the character zero, after the answer was paid for."""
    assert read(completion("a\0b")).text == "a\ufffdb"


@pytest.mark.parametrize(
    "logprobs",
    [{}, {"content": None}, {"content": [{"token": "a"}]}, {"content": 1}, [], "x", {"tokens": []}],
)
def test_malformed_log_probabilities_are_left_out(logprobs: object) -> None:
    """They only accompany an answer."""
    document = completion()
    document["choices"][0]["logprobs"] = logprobs
    answer = read(document)
    assert answer.text == "24"
    assert answer.logprobs is None


# -- Whatever comes --------------------------------------------------------------------------------


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(body=st.binary())
def test_bytes_are_an_answer_or_an_error(body: bytes) -> None:
    """Nothing else comes out of the reader."""
    with pytest.raises(ProviderInvalidResponse):
        chat_reply.read("acme", body, model="asked", request_id=None)


PLACES: Final = [
    (),
    ("choices", 0),
    ("choices", 0, "message"),
    ("choices", 0, "logprobs"),
    ("usage",),
    ("usage", "prompt_tokens_details"),
]
FIELDS: Final = sorted(
    {"cached_tokens", "choices", "completion_tokens", "content", "error", "finish_reason", "id"}
    | {"logprobs", "message", "model", "prompt_tokens", "refusal", "total_tokens", "usage"}
)


@given(place=st.sampled_from(PLACES), field=st.sampled_from(FIELDS), value=JSON)
def test_any_field_may_be_anything(place: tuple[str | int, ...], field: str, value: object) -> None:
    """One wrong field gives an answer without it, or no answer; never another error."""
    document = completion()
    document["choices"][0]["logprobs"] = {"content": []}
    at: Any = document
    for step in place:
        at = at[step]
    at[field] = value
    with suppress(ProviderInvalidResponse):
        assert isinstance(read(document).text, str)
