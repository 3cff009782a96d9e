"""A tenant's papers as it reads them over HTTP: the receipt of every solve, and its statement.

A month can only be closed once it is over, so what is read here is the open month as it stands. It
is made by the same query, from the same entries.
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import aiohttp

from benchmarks.overhead.servers import Server

AT_ONCE: Final = 16
PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Sums:
    """What receipts come to, in dollars, those of some solves and those of all others; how many."""

    some: Decimal
    others: Decimal
    counts: tuple[int, int]


class Papers:
    """What a key may read; `began` is when the first of it was charged."""

    def __init__(self, server: Server, session: aiohttp.ClientSession, *, began: datetime) -> None:
        self._session, self._address, self._began = session, server.address, began
        self._headers = {"authorization": f"Bearer {server.key}"}

    async def receipts(self, some: Collection[str]) -> Sums:
        """The receipts of every solve there is, added up."""
        totals: dict[bool, list[Decimal]] = {True: [], False: []}
        async for page in self._solves():
            read = await asyncio.gather(*(self._get(f"solves/{one}/receipt") for one in page))
            for solve, receipt in zip(page, read, strict=True):
                lines = sum((Decimal(line["cost_usd"]) for line in receipt["lines"]), Decimal(0))
                if lines != Decimal(receipt["total_usd"]):
                    raise SystemExit(f"the lines of the receipt of {solve} come to ${lines}")
                totals[solve in some].append(lines)
        return Sums(
            sum(totals[True], Decimal(0)),
            sum(totals[False], Decimal(0)),
            (len(totals[True]), len(totals[False])),
        )

    async def statement(self) -> tuple[str, Decimal]:
        """The month's name and state, and its charges; of two months where one has just begun."""
        months = sorted({f"{at:%Y-%m}" for at in (self._began, datetime.now(UTC))})
        told = [await self._get(f"statements/{month}") for month in months]
        names = " and ".join(f"{one['month']} ({one['status']})" for one in told)
        return names, sum((Decimal(one["charges_usd"]) for one in told), Decimal(0))

    async def _solves(self) -> AsyncGenerator[Sequence[str]]:
        after = ""
        while True:
            page = await self._get(f"solves?limit={PAGE}{after}")
            ids = [one["id"] for one in page["data"]]
            for start in range(0, len(ids), AT_ONCE):
                yield ids[start : start + AT_ONCE]
            if not page["has_more"]:
                return
            after = f"&after={page['next']}"

    async def _get(self, path: str) -> dict[str, Any]:
        url = f"{self._address}/v1/{path}"
        async with self._session.get(url, headers=self._headers) as response:
            if response.status != 200:
                raise SystemExit(f"{url} answered {response.status}: {await response.text()}")
            document: dict[str, Any] = await response.json()
            return document
