import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.completion import (
    Completion,
    CompletionRequest,
    Draft,
    FinishReason,
    Message,
    Provider,
    ProviderRefused,
    ProviderUnavailable,
    Usage,
)
from app.providers.recordings import Recordings
from app.providers.replay import ReplayProvider, draw
from tests.providers.requests import REQUEST

ROOT = Path(__file__).parents[2]
PROBLEMS, MODELS, SAMPLES = ("what is it", "and this"), ("m", "n"), 12

RECORDINGS = Recordings(
    {
        "problem": problem,
        "model": model,
        "samples": [
            {"text": f"{problem}/{model}/{n}", "input_tokens": 7, "output_tokens": 10}
            for n in range(SAMPLES)
        ],
    }
    for problem in PROBLEMS
    for model in MODELS
)

asked = st.builds(
    CompletionRequest,
    model=st.sampled_from(MODELS),
    messages=st.just(()),
    max_output_tokens=st.just(1_000),
    problem=st.sampled_from(PROBLEMS),
    op=st.text(max_size=8),
    seed=st.integers(),
)


def complete(request: CompletionRequest, *, latency_s: float = 0.0) -> Completion:
    """What a fresh provider answers to its first call."""
    provider: Provider = ReplayProvider(RECORDINGS, latency_s=latency_s)
    return asyncio.run(provider.complete(request, deadline_s=0.01))


async def complete_all(requests: list[CompletionRequest]) -> list[Completion]:
    """What one provider answers to calls that run at once."""
    provider = ReplayProvider(RECORDINGS)
    calls = [provider.complete(request, deadline_s=1) for request in requests]
    return await asyncio.gather(*calls)


@given(requests=st.lists(asked, min_size=1, max_size=8), order=st.randoms(use_true_random=False))
def test_draw_depends_on_nothing_but_its_request(
    requests: list[CompletionRequest], order: Random
) -> None:
    """Neither the order of calls nor what else was drawn changes an answer."""
    alone = {id(request): complete(request) for request in requests}
    order.shuffle(requests)
    together = asyncio.run(complete_all(requests))
    assert together == [alone[id(request)] for request in requests]


CHANGES: list[Callable[[int], CompletionRequest]] = [
    lambda n: replace(REQUEST, seed=n),
    lambda n: replace(REQUEST, op=f"t{n}"),
]


@pytest.mark.parametrize("change", CHANGES, ids=["seed", "op"])
def test_draws_are_spread_evenly_over_the_samples(
    change: Callable[[int], CompletionRequest],
) -> None:
    """Chi-square of 1,200 draws over 12 samples, against its 99.9th percentile at 11 degrees."""
    draws = asyncio.run(complete_all([change(n) for n in range(1_200)]))
    counts = Counter(completion.text for completion in draws)
    assert len(counts) == SAMPLES
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 31.3


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, seed=1),
        replace(REQUEST, op="gate.second"),
        replace(REQUEST, model="n"),
        replace(REQUEST, problem="and this"),
    ],
    ids=["seed", "op", "model", "problem"],
)
def test_each_part_of_the_key_changes_the_draw(other: CompletionRequest) -> None:
    """Calls that differ in one part of the key are drawn apart, and have ids of their own."""
    assert draw(other) != draw(REQUEST)
    assert complete(other).provider_request_id != complete(REQUEST).provider_request_id


def test_nothing_beside_the_key_changes_the_draw() -> None:
    """White space in the problem, the prompt's bounds and the temperature leave the draw alone."""
    other = replace(REQUEST, problem=" what  is\nit", max_output_tokens=500, temperature=1.0)
    assert complete(other) == complete(REQUEST)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_draws_the_same(hash_seed: str) -> None:
    """The draw does not use Python's own hash, which differs from process to process."""
    code = (
        "from app.providers.replay import draw\n"
        "from tests.providers.requests import REQUEST\n"
        "print(draw(REQUEST).hex())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert printed.stdout.strip() == draw(REQUEST).hex()


def test_draw_is_the_same_in_every_release() -> None:
    """A change here changes what a stored seed replays: that needs a note to users."""
    assert draw(REQUEST).hex().startswith("b4a70161c21ef18c")


def test_answer_carries_what_was_recorded() -> None:
    """Text, tokens and model come from the sample; the id from the draw."""
    completion = complete(REQUEST)
    assert completion.text.startswith("what is it/m/")
    assert completion.finish_reason is FinishReason.STOP
    assert completion.usage == Usage(input_tokens=7, output_tokens=10)
    assert completion.returned_model == "m"
    assert completion.provider_request_id == f"replay-{draw(REQUEST)[:8].hex()}"


@given(tokens_max=st.integers(0, 20))
def test_answer_is_cut_to_the_tokens_allowed(tokens_max: int) -> None:
    """A cut keeps the same share of characters as of tokens; an answer that fits is left whole."""
    whole = complete(REQUEST).text
    completion = complete(replace(REQUEST, max_output_tokens=tokens_max))
    assert completion.usage == Usage(input_tokens=7, output_tokens=min(tokens_max, 10))
    assert completion.text == whole[: len(whole) * min(tokens_max, 10) // 10]
    assert (completion.finish_reason is FinishReason.LENGTH) == (tokens_max < 10)


def _reading(*said: str | None) -> CompletionRequest:
    """A call that has drafts to read, in messages of 400 bytes more than the problem."""
    return replace(
        REQUEST,
        messages=[Message("user", REQUEST.problem + "." * 400)],
        drafts=[Draft(f"draft {place}: {one}", one) for place, one in enumerate(said)],
    )


@given(said=st.lists(st.none() | st.sampled_from("abc"), min_size=1), op=st.text(max_size=8))
def test_call_that_reads_drafts_chooses_what_most_of_them_say(
    said: list[str | None], op: str
) -> None:
    """One of them word by word; an unreadable one only where all are."""
    request = replace(_reading(*said), op=op)
    text = complete(request).text
    chosen = next(one for one in request.drafts if one.text == text)
    readable = [one for one in said if one is not None]
    assert (chosen.said is None) == (not readable)
    assert readable.count(chosen.said or "") == max(map(readable.count, readable), default=0)


def test_call_that_reads_drafts_costs_an_answer_and_the_reading() -> None:
    """The tokens of the sample that it would have drawn, and four bytes a token of the rest."""
    assert complete(_reading("a", "b")).usage == Usage(7 + 100, 10)
    cut = complete(replace(_reading("a", "b"), max_output_tokens=3))
    assert (cut.usage, cut.finish_reason) == (Usage(107, 3), FinishReason.STOP)
    assert cut.text in {"draft 0: a", "draft 1: b"}


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        (
            replace(REQUEST, problem="secret"),
            "not one of the 2 recorded problems, such as 'what is it'",
        ),
        (replace(REQUEST, model="x"), "model 'x' is not recorded here; recorded: m, n"),
    ],
    ids=["problem", "model"],
)
def test_what_was_not_recorded_is_refused(request_: CompletionRequest, detail: str) -> None:
    """The refusal says what is known, hides the caller's text and can have cost nothing."""
    with pytest.raises(ProviderRefused) as caught:
        complete(request_)
    assert caught.value.detail == detail
    assert not caught.value.may_have_worked


def test_call_slower_than_its_deadline_is_unavailable() -> None:
    """It fails once the deadline is over, not before, and may have been charged for."""

    async def attempt() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(ProviderUnavailable) as caught:
            await ReplayProvider(RECORDINGS, latency_s=60).complete(REQUEST, deadline_s=0.02)
        assert caught.value.may_have_worked
        return loop.time() - began

    assert 0.015 < asyncio.run(attempt()) < 30


def test_call_within_its_deadline_takes_its_latency() -> None:
    """A slow call gives the same answer as a fast one."""
    assert complete(REQUEST, latency_s=0.001) == complete(REQUEST)


def _scored(*scores: float | None, text: str = "") -> Recordings:
    """Two models' samples on one problem: so many of `m`, and one of `n` that says `other`."""
    samples = [
        {"text": text or f"{place}", "input_tokens": 1, "output_tokens": 9, "score": score}
        for place, score in enumerate(scores)
    ]
    other = {"text": "other", "input_tokens": 1, "output_tokens": 9, "score": 0.5}
    return Recordings(
        [
            {"problem": REQUEST.problem, "model": "m", "samples": samples},
            {"problem": REQUEST.problem, "model": "n", "samples": [other]},
        ]
    )


async def _score(recordings: Recordings, request: CompletionRequest, text: str | None) -> object:
    """The answer's score, of whatever it was answered where no text is given."""
    provider = ReplayProvider(recordings)
    if text is None:
        text = (await provider.complete(request, deadline_s=1)).text
    return provider.score(
        text, problem=request.problem, model=request.model, op=request.op, seed=request.seed
    )


@pytest.mark.parametrize("text", ["", "the same"])
async def test_score_is_that_of_the_sample_that_was_drawn(text: str) -> None:
    """Though others may say the same and be scored otherwise."""
    recordings = _scored(0.0, 0.25, None, 1.0, text=text)
    samples = recordings.samples(REQUEST.problem, "m")
    for seed in range(32):
        request = replace(REQUEST, seed=seed)
        drawn = samples[int.from_bytes(draw(request)) % len(samples)]
        assert await _score(recordings, request, None) == drawn.score


async def test_score_of_a_chosen_draft_is_found_by_its_text() -> None:
    """Whoever wrote it; unless nobody did, or not everybody was scored alike for it."""
    recordings = _scored(0.25)
    assert await _score(recordings, REQUEST, "other") == 0.5
    assert await _score(recordings, REQUEST, "oth") is None
    unlike = _scored(0.0, 1.0, text="the same")
    assert await _score(unlike, replace(REQUEST, model="n"), "the same") is None


async def test_score_of_an_answer_that_was_cut_short_is_unknown() -> None:
    """Nobody has scored it."""
    request = replace(REQUEST, model="n", max_output_tokens=3)
    assert await _score(_scored(0.25), request, None) is None
