"""What is compared: strategies as requests to `/v1/solve`, and the bound that makes them equal.

    single:a          one call of the expert `a`; `single` alone: of the policy's default expert
    strong            one call of the policy's strong expert; `strong:a` of `a`, such as the same
                      one at a higher reasoning effort
    gate              mode auto; `gate:0.20` with that price of a wrong answer, in dollars
    search            a tree search; `search:ab_mcts_m`, or `ab_mcts_m` alone, by that algorithm
    parallel          drafts and deliberation, where the gateway has that mode

`@a+b` behind any of them allows these experts and no others: `search:best_of_n@a+b`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, NewType

from app.errors import InvalidRequest
from app.money import from_usd, to_usd
from app.search.settings import Algorithm

Json = dict[str, Any]
ArmId = NewType("ArmId", str)

STRONG: Final = "strong"
KINDS: Final = ("single", STRONG, "gate", "search", "parallel")


class Match(StrEnum):
    """What every strategy gets the same amount of, for one task."""

    COST = "cost"
    TOKENS = "tokens"
    LATENCY = "latency"
    CALLS = "calls"


LIMIT: Final[Mapping[Match, str]] = {
    Match.COST: "max_cost_usd",
    Match.TOKENS: "max_total_tokens",
    Match.LATENCY: "deadline_ms",
    Match.CALLS: "max_calls",
}
UNIT: Final[Mapping[Match, str]] = {
    Match.COST: "dollars",
    Match.TOKENS: "tokens",
    Match.LATENCY: "milliseconds",
    Match.CALLS: "calls",
}


@dataclass(frozen=True, slots=True)
class Strategy:
    """A way to answer: its name as it was written, and its fields of a request."""

    name: str
    kind: str
    fields: Mapping[str, Any]

    @property
    def lacks_expert(self) -> bool:
        """Whether only the gateway's policy can say which expert it calls."""
        return self.kind == STRONG and "experts" not in self.fields

    def calling(self, expert: str) -> "Strategy":
        """The same with the expert named."""
        return replace(self, fields={**self.fields, "experts": [expert]})


@dataclass(frozen=True, slots=True)
class Bound:
    """How much of what is matched a task gets, in the words of the request's `budget`.

    `cap_usd` bounds the cost where something else is matched.
    """

    match: Match
    amount: str
    cap_usd: str

    def budget(self) -> Json:
        """The `budget` of a request."""
        if self.match is Match.COST:
            return {"max_cost_usd": self.amount}
        return {LIMIT[self.match]: int(self.amount), "max_cost_usd": self.cap_usd}


@dataclass(frozen=True, slots=True)
class Searching:
    """Bounds of every tree search; `width` 1 repeats exactly."""

    nodes_max: int = 16
    patience: int = 16
    width: int = 1


@dataclass(frozen=True, slots=True)
class Arm:
    """A strategy under a bound: what is compared."""

    strategy: Strategy
    bound: Bound

    @property
    def id(self) -> ArmId:
        """Its name in the results."""
        return arm_id(self.strategy.name, self.bound.amount)

    def body(self, task: Mapping[str, Any], searching: Searching, *, seed: int) -> Json:
        """The request for a task."""
        fields: Json = dict(self.strategy.fields)
        if fields["mode"] != "single":
            fields["search"] = fields.get("search", {}) | {
                "max_nodes": searching.nodes_max,
                "patience": searching.patience,
                "concurrency": searching.width,
            }
        return {**task, **fields, "budget": self.bound.budget(), "seed": seed}


def arm_id(strategy: str, amount: str) -> ArmId:
    """The name of a strategy under a bound."""
    return ArmId(f"{strategy} | {amount}")


def parse_strategies(text: str) -> Sequence[Strategy]:
    """The strategies between commas; one strong call is always among them.

    Raises InvalidRequest for one that there is not.
    """
    found = [_strategy(name.strip()) for name in text.split(",") if name.strip()]
    if not any(strategy.kind == STRONG for strategy in found):
        found.append(_strategy(STRONG))
    if len({strategy.name for strategy in found}) < len(found):
        raise InvalidRequest("strategies", "one is named twice")
    return found


def parse_amounts(match: Match, text: str) -> Sequence[str]:
    """The budgets between commas, least first. Raises InvalidRequest for what is no amount."""
    given = [amount.strip() for amount in text.split(",")]
    try:
        if match is Match.COST:
            nano = sorted({from_usd(amount) for amount in given})
            amounts = [to_usd(amount) for amount in nano if amount > 0]
        else:
            amounts = [str(amount) for amount in sorted({int(amount) for amount in given})]
            amounts = [amount for amount in amounts if int(amount) > 0]
    except ValueError:
        amounts = []
    if len(amounts) < len(set(given)):
        raise InvalidRequest("budget", f"{text!r}: give {UNIT[match]} a task, between commas")
    return amounts


def _strategy(name: str) -> Strategy:
    head, _, experts = name.partition("@")
    kind, _, detail = head.partition(":")
    if kind in set(Algorithm):
        kind, detail = "search", kind
    if kind not in KINDS or (detail and kind == "parallel"):
        known = ", ".join([*KINDS, *Algorithm])
        raise InvalidRequest("strategies", f"there is no {name!r}; there are: {known}")
    fields = _fields(kind, detail)
    if experts:
        if "experts" in fields:
            raise InvalidRequest("strategies", f"{name!r} names experts twice")
        fields["experts"] = experts.split("+")
    return Strategy(name, kind, fields)


def _fields(kind: str, detail: str) -> Json:
    match kind:
        case "single" | "strong":
            return {"mode": "single"} | ({"experts": [detail]} if detail else {})
        case "gate":
            return {"mode": "auto"} | ({"gate": {"value_usd": _usd(detail)}} if detail else {})
        case "search":
            return {"mode": "search"} | (
                {"search": {"algorithm": _known(detail)}} if detail else {}
            )
        case _:
            return {"mode": kind}


def _usd(text: str) -> str:
    try:
        return to_usd(from_usd(text))
    except ValueError as fault:
        raise InvalidRequest("strategies", f"gate: {fault}") from None


def _known(algorithm: str) -> Algorithm:
    try:
        return Algorithm(algorithm)
    except ValueError:
        known = ", ".join(Algorithm)
        raise InvalidRequest("strategies", f"search: {algorithm!r} is none of {known}") from None
