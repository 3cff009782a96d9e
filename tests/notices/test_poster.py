"""What a tenant's URL can reach: nothing inside, whatever its name says; how answers are read."""

import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from app.notices.poster import NotDelivered, Poster
from tests.notices.receiving import receiver

INNER = "169.254.169.254"


class Names(AbstractResolver):
    """A name server of ours: every name leads to each of `answers` in turn, the last for good."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers, self.asked = answers, 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in found
        ]

    async def close(self) -> None:
        return


@asynccontextmanager
async def poster(
    *allowed: str, names: Names | None = None, timeout_s: float = 5.0
) -> AsyncGenerator[Poster]:
    """One that is closed again."""
    made = Poster(allowed=allowed, timeout_s=timeout_s, resolver=names)
    try:
        yield made
    finally:
        await made.aclose()


async def failure(sender: Poster, url: str, *, trusted: bool = False) -> NotDelivered:
    """Why it could not be delivered."""
    with pytest.raises(NotDelivered) as failed:
        await sender.post(url, b"{}", {}, trusted=trusted)
    return failed.value


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], [INNER], ["10.0.0.1", "::1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"]],
)
async def test_a_name_that_leads_inside_is_not_followed(answers: list[str]) -> None:
    """No socket is made, so nothing inside can even be probed by how long it takes."""
    async with poster(names=Names(answers)) as sender:
        assert (await failure(sender, "https://hooks.example.com/")).reason == "AddressRefused"


async def test_a_name_is_looked_up_once_and_that_answer_is_judged() -> None:
    """One that says something else the second time (DNS rebinding) is not asked a second time."""
    names = Names([INNER], ["127.0.0.1"])
    async with poster(names=names) as sender:
        assert (await failure(sender, "https://hooks.example.com/")).reason == "AddressRefused"
        assert names.asked == 1
        # And with the next attempt the next answer is judged, and not remembered.
        assert (await failure(sender, "https://hooks.example.com/")).reason == "AddressRefused"
        assert names.asked == 2


async def test_a_url_that_came_into_the_outbox_under_other_rules_is_judged_again() -> None:
    """An origin that the operator no longer vouches for is never tried again."""
    async with receiver() as there, poster() as sender:
        refused = await failure(sender, there.url())
        assert refused.final
        assert there.received == []


async def test_an_origin_that_the_operator_vouches_for_is_reached() -> None:
    """By its name, which the receiver is told."""
    async with receiver() as there:
        named = there.origin.replace("127.0.0.1", "hooks.inside")
        async with poster(named, names=Names(["127.0.0.1"])) as sender:
            await sender.post(f"{named}/a?b=%20c", b"{}", {"x-more": "1"}, trusted=False)
            (got,) = there.received
            assert got.headers["host"] == named.removeprefix("http://")
            assert got.headers["x-more"] == "1"
            assert got.headers["content-type"] == "application/json"


async def test_a_destination_of_the_operators_may_be_inside() -> None:
    """An alert goes where he says."""
    async with receiver() as there, poster() as sender:
        await sender.post(there.url(), b"{}", {}, trusted=True)
        assert len(there.received) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """It is a failure, though it may be mended."""
    async with receiver(status) as there, poster(there.origin) as sender:
        refused = await failure(sender, there.url())
        assert (refused.reason, refused.final) == (f"status {status}", False)
        assert [got.path for got in there.received] == ["/hook"]


@pytest.mark.parametrize(
    ("status", "final"), [(400, False), (404, False), (410, True), (500, False)]
)
async def test_an_answer_that_is_no_success_is_a_failure(status: int, *, final: bool) -> None:
    """Only a receiver that says it is gone is believed for good."""
    async with receiver(status) as there, poster(there.origin) as sender:
        refused = await failure(sender, there.url())
        assert (refused.reason, refused.final) == (f"status {status}", final)


async def test_a_receiver_that_never_answers_is_given_up() -> None:
    """Within the attempt's time."""
    async with receiver(None) as there, poster(there.origin, timeout_s=0.3) as sender:
        assert (await failure(sender, there.url())).reason == "timeout"


async def test_a_receiver_that_is_not_there_is_a_failure() -> None:
    """As is a name that nobody knows."""
    async with poster("http://127.0.0.1:1") as sender:
        refused = await failure(sender, "http://127.0.0.1:1/")
        assert refused.reason == "ClientConnectorError"
        assert not refused.final
