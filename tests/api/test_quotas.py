"""`RateLimit-Policy` and `RateLimit`: what is left, before it refuses."""

import re
import time

import httpx
from hypothesis import given
from hypothesis import strategies as st

from app.accounts import Allowance, Scope, open_org, open_tenant, set_budget
from app.api.quotas import INTEGER_MAX, quota_headers
from app.ids import uuid7
from app.ledger.periods import Period
from app.ledger.quotas import Quota, Unit, tightest
from app.money import NanoUSD, from_usd
from app.providers.scripted import reply
from tests.gateway import PLENTY, cost, fathom

ANSWER = reply("391", input_tokens=10, output_tokens=5)
ITEM = r'"[a-z-]+"(;[a-z]+=(\d{1,15}|"[a-z-]+"))+'
"""A String with Parameters, as RFC 9651 writes them."""

quotas = st.builds(
    Quota,
    scope=st.sampled_from(["org", "tenant", "key"]),
    unit=st.sampled_from(Unit),
    period=st.sampled_from(["day", "total"]),
    limit=st.integers(0, 2**63 - 1),
    left=st.integers(-5, 2**63 - 1),
    window_s=st.none() | st.integers(60, 10**7),
    ends_at_s=st.none() | st.integers(0, 2**33),
)


def told(response: httpx.Response) -> tuple[str, str]:
    """Both fields."""
    return response.headers["RateLimit-Policy"], response.headers["RateLimit"]


@given(st.lists(quotas, min_size=1), st.integers(0, 2**62))
def test_fields_are_structured_and_never_negative(found: list[Quota], used: int) -> None:
    """Whatever the amounts, with one item for each unit."""
    kept = tightest(found)
    assert len(kept) == len({quota.unit for quota in found})
    for field in quota_headers(kept, used=NanoUSD(used)).values():
        assert re.fullmatch(rf"{ITEM}(, {ITEM})*", field), field
        assert all(int(number) <= INTEGER_MAX for number in re.findall(r"=(\d+)", field))


def test_nothing_is_said_where_nothing_is_known() -> None:
    """An empty list would be no field."""
    assert quota_headers(()) == {}


async def test_answer_tells_what_the_tightest_budget_has_left(database_url: str) -> None:
    """The key's here, once this answer is paid for; a solve in the background by its hold."""
    async with fathom(database_url, ANSWER) as gateway:
        database, name = gateway.gateway.database, f"tenant-{uuid7().hex}"
        made = await open_tenant(database, name=name, policy="default", allowance=PLENTY)
        daily = Allowance(from_usd("2"), Period.DAY)
        await set_budget(database, tenant=name, scope=Scope.KEY, name=made.key_id, allowance=daily)
        gateway.client.headers["Authorization"] = f"Bearer {made.key}"
        for n in (1, 2):
            policy, limit = told(await gateway.solve(mode="single"))
            assert policy == '"key-usd-day";q=2000000;qu="micro-usd";w=86400'
            left = (from_usd("2") - n * cost(10, 5)) // 1_000
            assert (found := re.fullmatch(r'"key-usd-day";r=(\d+);t=(\d+)', limit))
            assert int(found[1]) == left
            assert 0 <= int(found[2]) <= 86_400 - time.time() % 86_400 + 1
        gateway.client.headers["Idempotency-Key"] = "k1"
        begun = await gateway.solve(mode="single", background=True)
        assert begun.status_code == 202
        assert told(begun)[0] == policy
        ended = await gateway.client.post(f"{begun.json()['links']['self']}/cancel")
        assert ended.status_code == 200


async def test_refusal_tells_which_budget_is_used_up(database_url: str) -> None:
    """Of an organisation no more than what is left."""
    async with fathom(database_url, ANSWER) as gateway:
        database, org = gateway.gateway.database, f"org-{uuid7().hex}"
        poor = Allowance(from_usd("0.000001"), Period.TOTAL)
        await open_org(database, name=org, allowance=poor)
        made = await open_tenant(
            database, name=uuid7().hex, policy="default", allowance=PLENTY, org=org
        )
        headers = {"Authorization": f"Bearer {made.key}"}
        body = {"input": "17 * 23?"}
        refused = await gateway.client.post("/v1/solve", json=body, headers=headers)
        assert refused.status_code == 402
        assert told(refused) == (
            '"org-usd-total";q=1;qu="micro-usd"',
            '"org-usd-total";r=1',
        )
