"""A provider that answers from recordings: nothing is sent, and a draw never depends on the past.

The sample is a function of (seed, problem, model, op) alone, so concurrent calls, retries and a
second process see the same answers. Draws are with replacement, so two ops may get the same sample.
Only independent samples are recorded: a call that refines an earlier answer, or that carries other
instructions, draws a fresh sample of the same problem, whatever its messages say. A call that has
drafts to read chooses among them, as nobody recorded what a model makes of them: it repeats the one
that most of them agree with, at the output tokens of the sample that it would have drawn and the
input tokens of that and of what its messages hold beside the problem.
"""

import asyncio
import hashlib
import json
from collections import Counter
from typing import Final

from app.providers.completion import (
    Completion,
    CompletionRequest,
    FinishReason,
    ProviderRefused,
    ProviderUnavailable,
    Usage,
)
from app.providers.recordings import Recordings, Sample, normalise

BYTES_PER_TOKEN: Final = 4
"""Of drafts, whose tokens as a part of a prompt were not recorded."""


class ReplayProvider:
    """Completes requests from `recordings`; each call takes `latency_s` seconds of real time."""

    def __init__(self, recordings: Recordings, *, latency_s: float = 0.0) -> None:
        self._recordings, self._latency_s = recordings, latency_s

    async def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Draw the recorded answer; refuses a problem or a model that was not recorded."""
        samples = self._recordings.samples(request.problem, request.model)
        if not samples:
            raise ProviderRefused(self._unrecorded(request), may_have_worked=False)
        # At zero this still gives way once, as a call over a network would.
        await asyncio.sleep(min(self._latency_s, deadline_s))
        if self._latency_s > deadline_s:
            raise ProviderUnavailable(f"no answer within {deadline_s:g} s", may_have_worked=True)
        digest = draw(request)
        place = _number(digest)
        sample = samples[place % len(samples)]
        if request.drafts:
            sample = _chosen(request, place, sample)
        return _completion(sample, request, request_id=f"replay-{digest[:8].hex()}")

    def score(self, text: str, *, problem: str, model: str, op: str, seed: int) -> float | None:
        """The recorded score of what a call was answered: of the sample that it drew.

        One that chose among drafts has that of equal texts on the problem, of whatever model. None
        where none was recorded, where equal texts have different scores, or for an answer that was
        cut short, which nobody has scored.
        """
        samples = self._recordings.samples(problem, model)
        if samples:
            drawn = samples[_number(_digest(seed, problem, model, op)) % len(samples)]
            if drawn.text == text:
                return drawn.score
        models = self._recordings.models(problem)
        found = [one for known in models for one in self._recordings.samples(problem, known)]
        scores = {sample.score for sample in found if sample.text == text}
        return scores.pop() if len(scores) == 1 else None

    async def aclose(self) -> None:
        """Nothing to give back."""

    def _unrecorded(self, request: CompletionRequest) -> str:
        models = self._recordings.models(request.problem)
        if models:
            return f"model {request.model!r} is not recorded here; recorded: {', '.join(models)}"
        problems = self._recordings.problems
        return f"not one of the {len(problems)} recorded problems, such as {problems[0]!r}"


def draw(request: CompletionRequest) -> bytes:
    """256 uniform bits fixed by (seed, problem, model, op), the same in every process."""
    return _digest(request.seed, request.problem, request.model, request.op)


def _digest(seed: int, problem: str, model: str, op: str) -> bytes:
    drawn_by = [seed, normalise(problem), model, op]
    return hashlib.blake2b(json.dumps(drawn_by).encode(), digest_size=32).digest()


def _number(digest: bytes) -> int:
    # 256 bits: the remainder favours no sample by more than 2**-240.
    return int.from_bytes(digest)


def _chosen(request: CompletionRequest, place: int, drawn: Sample) -> Sample:
    """A draft that most agree with, as if it had been drawn; of several such one by `place`."""
    drafts = request.drafts
    counts = Counter(draft.said for draft in drafts if draft.said is not None)
    most = max(counts.values(), default=0)
    alike = [draft for draft in drafts if draft.said is not None and counts[draft.said] == most]
    chosen = (alike or drafts)[place % len(alike or drafts)]
    sent = sum(len(message.content.encode()) for message in request.messages)
    read = max(0, sent - len(request.problem.encode())) // BYTES_PER_TOKEN
    written = min(drawn.output_tokens, request.max_output_tokens)
    return Sample(chosen.text, drawn.input_tokens + read, written)


def _completion(sample: Sample, request: CompletionRequest, *, request_id: str) -> Completion:
    """The sample as an answer, cut to `max_output_tokens`.

    Where each token ended was not recorded, so a cut keeps the same share of the characters as of
    the tokens.
    """
    kept, recorded = min(request.max_output_tokens, sample.output_tokens), sample.output_tokens
    is_cut = kept < recorded
    return Completion(
        text=sample.text[: len(sample.text) * kept // recorded] if is_cut else sample.text,
        finish_reason=FinishReason.LENGTH if is_cut else FinishReason.STOP,
        usage=Usage(input_tokens=sample.input_tokens, output_tokens=kept),
        returned_model=request.model,
        provider_request_id=request_id,
    )
