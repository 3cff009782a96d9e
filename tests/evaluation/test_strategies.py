"""Strategies as requests, and the bound that each gets the same of."""

import pytest

from app.errors import InvalidRequest
from app.evaluation.strategies import (
    Arm,
    Bound,
    Match,
    Searching,
    parse_amounts,
    parse_strategies,
)

SEARCH = {"max_nodes": 8, "patience": 4, "concurrency": 1}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("single", {"mode": "single"}),
        ("single:a", {"mode": "single", "experts": ["a"]}),
        ("strong:a", {"mode": "single", "experts": ["a"]}),
        ("gate", {"mode": "auto", "search": SEARCH}),
        ("gate:0.2", {"mode": "auto", "gate": {"value_usd": "0.20"}, "search": SEARCH}),
        ("gate@a+b", {"mode": "auto", "experts": ["a", "b"], "search": SEARCH}),
        ("search", {"mode": "search", "search": SEARCH}),
        ("search:ab_mcts_m", {"mode": "search", "search": SEARCH | {"algorithm": "ab_mcts_m"}}),
        ("best_of_n", {"mode": "search", "search": SEARCH | {"algorithm": "best_of_n"}}),
        (
            "best_of_n@a",
            {"mode": "search", "experts": ["a"], "search": SEARCH | {"algorithm": "best_of_n"}},
        ),
        ("parallel", {"mode": "parallel", "search": SEARCH}),
    ],
)
def test_strategy_is_a_request(name: str, fields: dict[str, object]) -> None:
    """The task's own fields stay, and the bound and the seed are added."""
    strategy = next(one for one in parse_strategies(name) if one.name == name)
    arm = Arm(strategy, Bound(Match.COST, "0.05", "1"))
    body = arm.body({"input": "x"}, Searching(nodes_max=8, patience=4, width=1), seed=3)
    assert body == {"input": "x", "seed": 3, "budget": {"max_cost_usd": "0.05"}} | fields


def test_one_strong_call_is_always_a_rival() -> None:
    """Unless one is named already."""
    assert [one.name for one in parse_strategies("single:a, gate")] == [
        "single:a",
        "gate",
        "strong",
    ]
    assert [one.name for one in parse_strategies("strong:best,gate")] == ["strong:best", "gate"]


@pytest.mark.parametrize(
    ("match", "budget"),
    [
        (Match.TOKENS, {"max_total_tokens": 500}),
        (Match.LATENCY, {"deadline_ms": 500}),
        (Match.CALLS, {"max_calls": 500}),
    ],
)
def test_what_is_matched_is_bounded_beside_the_cost(match: Match, budget: dict[str, int]) -> None:
    """By the same cap for all: a policy's own would differ between modes."""
    assert Bound(match, "500", "0.50").budget() == budget | {"max_cost_usd": "0.50"}


def test_amounts_are_swept_from_the_least() -> None:
    """In one spelling, which names the arm in the results."""
    assert parse_amounts(Match.COST, "0.1, .05,2") == ["0.05", "0.10", "2.00"]
    assert parse_amounts(Match.TOKENS, "4000,500") == ["500", "4000"]


@pytest.mark.parametrize(
    "text", ["magic", "search:magic", "gate:much", "single:a,single:a", "single:a@b", "parallel:3"]
)
def test_unknown_strategy_is_refused(text: str) -> None:
    """Before a gateway is asked."""
    with pytest.raises(InvalidRequest, match="strategies"):
        parse_strategies(text)


@pytest.mark.parametrize(
    ("match", "text"),
    [(Match.COST, "ten"), (Match.COST, "0"), (Match.TOKENS, "0.5"), (Match.CALLS, "3,-1")],
)
def test_what_is_no_amount_is_refused(match: Match, text: str) -> None:
    """With the unit that is meant."""
    with pytest.raises(InvalidRequest, match="a task, between commas"):
        parse_amounts(match, text)
