import asyncio
from dataclasses import replace

import pytest

from app.providers.completion import (
    Completion,
    CompletionRequest,
    Provider,
    ProviderRefused,
    ProviderUnavailable,
    Usage,
)
from app.providers.scripted import Answer, Script, ScriptedProvider, by_op, held, in_turn, reply
from tests.providers.requests import REQUEST

OVERLOADED = ProviderUnavailable("overloaded", may_have_worked=False, retry_after_s=1)


async def ask(provider: Provider, op: str = "gate.first") -> Completion:
    """One call with time to spare."""
    return await provider.complete(replace(REQUEST, op=op), deadline_s=5)


def test_one_answer_is_given_to_every_call() -> None:
    """The simplest script is an answer."""
    provider = ScriptedProvider(reply("24", input_tokens=3, output_tokens=1))
    completion = asyncio.run(ask(provider))
    assert completion.text == "24"
    assert completion.usage == Usage(input_tokens=3, output_tokens=1)


def test_function_answers_from_the_request() -> None:
    """A script may be any function, plain or asynchronous."""

    def plain(request: CompletionRequest) -> Answer:
        return reply(request.op)

    async def awaited(request: CompletionRequest) -> Answer:
        await asyncio.sleep(0)
        return reply(request.op)

    scripts: list[Script] = [plain, awaited]
    for script in scripts:
        assert asyncio.run(ask(ScriptedProvider(script), "t3")).text == "t3"


def test_op_is_answered_by_the_first_pattern_that_matches() -> None:
    """Patterns are tried in order, and a pattern may lead to another script."""
    script = by_op({"gate.*": reply("gate"), "t1": OVERLOADED, "t*": in_turn(reply("tree"))})

    async def play() -> None:
        provider = ScriptedProvider(script)
        assert (await ask(provider, "gate.second")).text == "gate"
        assert (await ask(provider, "t2")).text == "tree"
        with pytest.raises(ProviderUnavailable):
            await ask(provider, "t1")
        with pytest.raises(LookupError, match="op 'judge'"):
            await ask(provider, "judge")

    asyncio.run(play())


def test_answers_in_turn_run_out() -> None:
    """The n-th call gets the n-th answer; one call too many is a fault of the test."""

    async def play() -> None:
        provider = ScriptedProvider(in_turn(OVERLOADED, reply("second")))
        with pytest.raises(ProviderUnavailable):
            await ask(provider)
        assert (await ask(provider)).text == "second"
        with pytest.raises(LookupError, match="only 2 answers"):
            await ask(provider)

    asyncio.run(play())


def test_scripted_error_is_raised_as_it_is() -> None:
    """Its facts arrive untouched, and its traceback does not grow from call to call."""

    async def play() -> list[int]:
        provider, lengths = ScriptedProvider(OVERLOADED), list[int]()
        for _ in range(3):
            with pytest.raises(ProviderUnavailable) as caught:
                await ask(provider)
            assert caught.value is OVERLOADED
            lengths.append(len(caught.traceback))
        return lengths

    assert len(set(asyncio.run(play()))) == 1


def test_error_raised_by_the_script_reaches_the_caller() -> None:
    """A script that raises does the same as one that returns the error."""

    def refuse(request: CompletionRequest) -> Answer:
        raise ProviderRefused("no", may_have_worked=False)

    async def fail(request: CompletionRequest) -> Answer:
        raise TimeoutError

    with pytest.raises(ProviderRefused):
        asyncio.run(ask(ScriptedProvider(refuse)))
    with pytest.raises(TimeoutError):
        asyncio.run(ask(ScriptedProvider(fail)))


def test_held_calls_wait_together_and_are_counted() -> None:
    """A test can wait for calls to arrive, look at them, and let them go."""

    async def play() -> None:
        release = asyncio.Event()
        provider = ScriptedProvider(held(release, reply("late")))
        async with asyncio.TaskGroup() as calls:
            tasks = [calls.create_task(ask(provider, f"t{n}")) for n in range(3)]
            await provider.arrived(3)
            assert provider.in_flight == 3
            assert [request.op for request in provider.requests] == ["t0", "t1", "t2"]
            release.set()
        assert [task.result().text for task in tasks] == ["late"] * 3
        assert (provider.in_flight, provider.max_in_flight) == (0, 3)

    asyncio.run(play())


def test_calls_at_once_overlap_though_nothing_holds_them() -> None:
    """Even an immediate answer gives way once, as a real call does."""

    async def play() -> ScriptedProvider:
        provider = ScriptedProvider(reply("now"))
        await asyncio.gather(*(ask(provider) for _ in range(4)))
        return provider

    provider = asyncio.run(play())
    assert (provider.in_flight, provider.max_in_flight) == (0, 4)


def test_cancelled_call_is_counted_and_ends() -> None:
    """The caller going away frees the call."""

    async def play() -> ScriptedProvider:
        provider = ScriptedProvider(held(asyncio.Event(), reply("never")))
        task = asyncio.create_task(ask(provider))
        await provider.arrived(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return provider

    provider = asyncio.run(play())
    assert (provider.cancelled, provider.in_flight) == (1, 0)


def test_missed_deadline_is_unavailable_and_not_cancelled() -> None:
    """A model that hangs ends as a time-out would, and may have been charged for."""
    provider = ScriptedProvider(held(asyncio.Event(), reply("never")))
    with pytest.raises(ProviderUnavailable) as caught:
        asyncio.run(provider.complete(REQUEST, deadline_s=0.01))
    assert caught.value.may_have_worked
    assert (provider.cancelled, provider.in_flight) == (0, 0)


def test_waiting_for_calls_that_never_come_ends() -> None:
    """A test that waits for one call too many fails and does not hang."""
    with pytest.raises(TimeoutError):
        asyncio.run(ScriptedProvider(reply("")).arrived(1, timeout_s=0.01))


def test_closing_is_remembered() -> None:
    """A test can tell whether its provider was given back."""
    provider = ScriptedProvider(reply(""))
    asyncio.run(provider.aclose())
    assert provider.is_closed
