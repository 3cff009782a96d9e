"""Whatever an upstream does to the gateway: what its caller is told, and what is paid for it.

`fathom serve` on real parts, its models misbehaving over real HTTP. Each fault of the table is met
alone, and in a search that has a sound expert beside the faulty one. Many happen at once, so that
none may touch another. `pytest tests/test_faults.py -s` shows what was seen.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

import httpx
import pytest
from sqlalchemy import func, select

from app.accounts import open_tenant
from app.db.engine import Database
from app.ids import uuid7
from app.ledger.invariants import check
from app.ledger.postings import SUSPENSE
from app.ledger.tables import Budget, Entry
from app.money import NanoUSD, to_usd
from app.search.search import Search
from app.search.settings import SearchSettings
from app.search.trial import Trial
from tests.backends import REAL, SQLITE, Backends, empty_database, opened
from tests.faults import FAULTS, GOOD, PRICE, RIGHT, Fault
from tests.gateway import PLENTY, Json, exact
from tests.providers.upstream import Act, Asked, Upstream, upstream
from tests.solve.serving import gateway_process

OUTPUT_TOKENS_MAX: Final = 500
AT_ONCE: Final = 8
"""As many faults as leave a busy machine time for the one that has a deadline."""

CONFIG: Final = """
[providers.acme]
kind = "openai"
base_url = "BASE_URL"
concurrency = 400

[providers.impatient]
kind = "openai"
base_url = "BASE_URL"
read_timeout_s = 0.3
"""

EXPERT: Final = f"""
[experts.NAME]
provider = "PROVIDER"
model = "MODEL"
max_output_tokens = {OUTPUT_TOKENS_MAX}
input_usd_per_mtok = "1"
output_usd_per_mtok = "10"
"""

EXPERTS: Final = [
    ("faulty", "acme", "faulty"),
    ("impatient", "impatient", "faulty"),
    ("sound", "acme", "sound"),
]

PLAIN: Final[Json] = {"algorithm": "ab_mcts_a", "max_nodes": 4, "concurrency": 2}
"""A search whose first two asks say nothing of prices."""

POLICY: Final = """
[policies.default]
default_expert = "faulty"
search_experts = ["faulty", "impatient", "sound"]
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the caller of a problem was told, and what the books say once it was.

    `asked` counts the calls of the faulty model.
    """

    problem: str
    response: httpx.Response
    asked: int
    charged: NanoUSD
    reserved: NanoUSD
    suspense: NanoUSD

    @property
    def document(self) -> Json:
        """The body of the answer."""
        document: Json = self.response.json()
        return document

    @property
    def worst_case(self) -> NanoUSD:
        """The most that one call can cost."""
        return PRICE.worst_case(len(self.problem.encode()) + 16, OUTPUT_TOKENS_MAX)

    @property
    def estimate(self) -> NanoUSD:
        """What a call costs by our own count: four bytes a token."""
        return PRICE.cost(len(self.problem.encode()) // 4, -(-len(RIGHT) // 4))

    def row(self) -> str:
        """It, to be shown."""
        told = self.document
        failure = told.get("detail") or "; ".join(one["error"] for one in told["failures"])
        estimated = "estimated" if told.get("cost", {}).get("estimated") else ""
        code = told.get("code", told["status"])
        return (
            f"{self.problem:50} {self.response.status_code} {code:26} {self.asked} calls"
            f" {self.charged:>9,} charged {self.suspense:>11,} unknown {estimated:9} {failure}"
        )


class Bench:
    """The running gateway, and the models behind it, which do what the problem names."""

    def __init__(self, models: Upstream, database: Database, address: str) -> None:
        self._models, self._database, self._address = models, database, address
        self._faults = {fault.name: fault for fault in FAULTS}
        self._asked = Counter[str]()
        self._room = asyncio.Semaphore(AT_ONCE)
        models.script = self._act

    async def meet(self, fault: Fault) -> tuple[Seen, Seen]:
        """The fault alone, and in a search."""
        alone: Json = {"mode": "single", "experts": [fault.expert]}
        search: Json = {"mode": "search", "experts": [fault.expert, "sound"], **exact(RIGHT)}
        wide: Json = {"seed": seed_that_asks_both(), "search": PLAIN}
        async with self._room:
            return await asyncio.gather(
                self._solve(fault.name, alone | fault.body),
                self._solve(f"{fault.name} (search)", search | wide | fault.body),
            )

    async def _solve(self, problem: str, body: Json) -> Seen:
        name = f"tenant-{uuid7().hex}"
        tenant = await open_tenant(self._database, name=name, policy="default", allowance=PLENTY)
        headers = {"Authorization": f"Bearer {tenant.key}"}
        async with httpx.AsyncClient(base_url=self._address, headers=headers, timeout=60) as client:
            response = await client.post("/v1/solve", json={"input": problem} | body)
        # The tenant's budget and its key's: they say the same, or there is not one row.
        levels = select(Budget.posted, Budget.reserved).distinct()
        told = response.json()
        waiting = select(func.coalesce(func.sum(Entry.amount), 0)).where(
            Entry.account == SUSPENSE, Entry.solve_id == (told.get("id") or told["solve_id"])
        )
        async with self._database.read() as tx:
            charged, reserved = (
                await tx.execute(levels.where(Budget.tenant_id == tenant.tenant_id))
            ).one()
            suspense = (await tx.execute(waiting)).scalar_one()
        asked = self._asked[problem]
        return Seen(problem, response, asked, charged, reserved, NanoUSD(int(suspense)))

    def _act(self, asked: Asked) -> Act:
        document = asked.document
        problem: str = document["messages"][0]["content"]
        if document["model"] == "sound":
            return GOOD
        does = self._faults[problem.removesuffix(" (search)")].does
        self._asked[problem] += 1
        return does[min(self._asked[problem], len(does)) - 1]


def seed_that_asks_both() -> int:
    """A seed for which the first two trials of a search go to either of two experts."""

    def first_two(seed: int) -> list[str]:
        search = Search(SearchSettings(experts=("faulty", "sound"), seed=seed))
        trials = [search.ask(), search.ask()]
        return [trial.expert for trial in trials if isinstance(trial, Trial)]

    return next(seed for seed in count() if first_two(seed) == ["faulty", "sound"])


def config(models: Upstream) -> str:
    """The gateway's configuration."""
    experts = (
        EXPERT.replace("NAME", name).replace("PROVIDER", provider).replace("MODEL", model)
        for name, provider, model in EXPERTS
    )
    return CONFIG.replace("BASE_URL", models.base_url) + "".join(experts) + POLICY


@dataclass(frozen=True, slots=True)
class Meetings:
    """What came of every fault, by name; and the rules of the books that do not hold after it."""

    seen: Mapping[str, tuple[Seen, Seen]]
    broken: list[str]


# One process a database: what sets a gateway up meets every fault, and takes seconds.
KINDS: Final = [
    pytest.param(kind, marks=pytest.mark.xdist_group(f"faults, {kind}")) for kind in (SQLITE, REAL)
]


@pytest.fixture(scope="module", params=KINDS)
async def meetings(
    request: pytest.FixtureRequest,
    backends: Backends,
    redis_url: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Meetings:
    """Every fault on one gateway."""
    folder = tmp_path_factory.mktemp("faults")
    url = await empty_database(request.param, backends, folder)
    tree_store = None if request.param == SQLITE else redis_url
    file = folder / "fathom.toml"
    async with upstream() as models, opened(url) as database:
        file.write_text(config(models))
        running = gateway_process(file, database_url=url, redis_url=tree_store, lease_s=10)
        async with running as (_, address):
            bench = Bench(models, database, address)
            met = await asyncio.gather(*map(bench.meet, FAULTS))
        broken = [rule.name for rule in await check(database) if not rule.holds]
    names = [fault.name for fault in FAULTS]
    return Meetings(dict(zip(names, met, strict=True)), broken)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_fault_is_told_and_paid_for(fault: Fault, meetings: Meetings) -> None:
    """Alone: the status, the code, and money to the nano-dollar."""
    seen, _ = meetings.seen[fault.name]
    print(seen.row())  # noqa: T201 - with -s it is the table
    told = seen.document
    assert seen.response.status_code == fault.status
    assert seen.asked == fault.calls
    paid = seen.estimate if fault.charged is None else fault.charged
    unpaid = seen.worst_case - paid if fault.charged is None else fault.unknown * seen.worst_case
    assert (seen.charged, seen.suspense, seen.reserved) == (paid, unpaid, 0)
    if fault.code is None:
        assert told["output_text"] == RIGHT
        assert told["cost"]["total_usd"] == to_usd(paid)
        assert told["cost"]["estimated"] is (fault.charged is None)
    else:
        assert seen.response.headers["content-type"] == "application/problem+json"
        assert told["code"] == fault.code
        assert told["spent_usd"] == to_usd(paid)
        assert "output_text" not in told


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_fault_in_a_search_leaves_the_answer_of_the_sound_expert(
    fault: Fault, meetings: Meetings
) -> None:
    """And says which expert failed, and how."""
    _, seen = meetings.seen[fault.name]
    print(seen.row())  # noqa: T201 - with -s it is the table
    told = seen.document
    assert seen.response.status_code == 200
    assert told["output_text"] == RIGHT
    assert (told["status"], told["stop_reason"]) == ("completed", "target_score")
    assert 1 <= seen.asked <= fault.calls
    assert told["cost"]["total_usd"] == to_usd(seen.charged)
    assert seen.reserved == 0
    failures = {failure["expert"]: failure["error"] for failure in told["failures"]}
    assert failures.keys() == (set() if fault.says is None else {fault.expert})
    assert (fault.says or "") in failures.get(fault.expert, "")


async def test_books_balance_after_every_fault(meetings: Meetings) -> None:
    """All that `fathom check` looks at."""
    assert meetings.broken == []
