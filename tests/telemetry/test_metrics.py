"""What is counted, under which names, and that no request can make up a series."""

import itertools

import pytest
from structlog.testing import capture_logs

from app.gate import learned
from app.gate.gate import (
    Accept,
    BuyOpinion,
    Escalate,
    FirstAnswer,
    Route,
    SecondOpinion,
    Stakes,
    after_first,
    after_second,
)
from app.ids import TenantId
from app.ledger.periods import Period
from app.ledger.postings import CallState
from app.money import NanoUSD
from app.solve.report import Status
from app.solve.tally import Tally, phase_of
from app.telemetry.metrics import (
    CALL_PHASES,
    CALL_STATES,
    NONE,
    PERIODS,
    REASONS,
    ROUTES,
    STATUSES,
    TENANTS_MAX,
    BudgetLevel,
    Standing,
)
from tests.telemetry.results import decided, line, metrics, series, solved

ACME = TenantId("tnt_acme")


def test_a_solve_is_counted_by_route_status_and_tenant() -> None:
    """Its cost, its calls and its tokens are counted with it."""
    counted = metrics("acme")
    counted.name_tenants({ACME: "acme"})
    calls = (line(cost=1_000_000), line("t1", expert="strong", cost=2_000_000))

    Tally(counted).solved(
        solved(*calls, decision=decided(Route.SEARCH, "below_target")), tenant_id=ACME
    )

    found = series(counted)
    assert found['fathom_solves_total{route="search",status="completed",tenant="acme"}'] == 1
    assert found['fathom_solve_cost_usd_total{route="search",tenant="acme"}'] == 0.003
    assert found['fathom_calls_total{expert="strong",phase="search",state="ok"}'] == 1
    assert found['fathom_cost_usd_total{expert="strong",phase="search",tenant="acme"}'] == 0.002
    assert found['fathom_tokens_total{direction="input",expert="cheap",phase="first"}'] == 100
    assert found['fathom_gate_decisions_total{reason="below_target",route="search"}'] == 1
    assert found['fathom_solve_seconds_count{route="search"}'] == 1
    assert found['fathom_phase_seconds_count{phase="gate"}'] == 1
    assert found['fathom_phase_seconds_count{phase="search"}'] == 0


def test_accuracy_counts_what_was_scored_and_nothing_else() -> None:
    """Right answers over scored ones, by the expert whose answer was returned."""
    counted = metrics()
    tally, made = Tally(counted), decided(Route.SINGLE, "verified")
    tally.solved(solved(line(), decision=made, score=1.0, passed=True), tenant_id=ACME)
    tally.solved(
        solved(line(), decision=made, score=0.5, passed=False, answered_by="strong"),
        tenant_id=ACME,
    )
    tally.solved(solved(line(), decision=made), tenant_id=ACME)

    found = series(counted)
    by_expert = 'expert="{}",route="single",tenant="other"'
    assert found[f"fathom_scored_total{{{by_expert.format('cheap')}}}"] == 1
    assert found[f"fathom_right_total{{{by_expert.format('cheap')}}}"] == 1
    assert found[f"fathom_right_total{{{by_expert.format('strong')}}}"] == 0
    assert found[f"fathom_score_total{{{by_expert.format('strong')}}}"] == 0.5
    assert found[f"fathom_scored_cost_usd_total{{{by_expert.format('cheap')}}}"] == 0.001
    assert found['fathom_gate_scored_total{reason="verified",route="single"}'] == 2
    assert found['fathom_gate_scored_cost_usd_total{reason="verified",route="single"}'] == 0.002
    assert found['fathom_gate_right_total{reason="verified",route="single"}'] == 1
    assert found['fathom_gate_decisions_total{reason="verified",route="single"}'] == 3


def test_a_baseline_is_the_gates_only_where_the_gate_chose() -> None:
    """A caller who forced one call is no saving of the gate's."""
    counted = metrics()
    tally, strong = Tally(counted), NanoUSD(5_000_000)
    for reason in ("forced", "agreement"):
        made = decided(Route.SINGLE, reason)
        tally.solved(solved(line(), decision=made, strong_baseline=strong), tenant_id=ACME)

    found = series(counted)
    assert found['fathom_baseline_usd_total{baseline="strong",route="single"}'] == 0.005
    assert found['fathom_baseline_actual_usd_total{baseline="strong",route="single"}'] == 0.001


def test_a_solve_without_a_decision_is_counted_as_such() -> None:
    """It ended before there was one."""
    counted = metrics()
    Tally(counted).solved(solved(), tenant_id=ACME)
    found = series(counted)
    assert found['fathom_gate_decisions_total{reason="none",route="none"}'] == 1
    assert found['fathom_solves_total{route="none",status="completed",tenant="other"}'] == 1


def test_junk_names_mint_no_series() -> None:
    """Ten thousand tenants and experts that nobody configured are counted as `other`."""
    counted = metrics("acme")
    tally = Tally(counted)

    def count(number: int) -> None:
        junk = f"junk-{number}"
        made = solved(
            line(junk, expert=junk),
            decision=decided(Route.SINGLE, junk),
            score=1.0,
            answered_by=junk,
        )
        tally.solved(made, tenant_id=TenantId(junk))

    with capture_logs():
        count(0)
        before = set(series(counted))
        for number in range(1, 10_000):
            count(number)

    assert set(series(counted)) == before
    assert not [name for name in before if "junk" in name]


def test_no_more_than_the_bound_of_tenants_have_series() -> None:
    """However many there are, and however often they are named."""
    counted = metrics("*")
    for start in range(0, 10_000, 100):
        names = {f"tnt_{number}": f"tenant-{number}" for number in range(start, start + 100)}
        counted.name_tenants(names)

    assert len(counted.tenants_apart) == TENANTS_MAX
    assert counted.tenant("tnt_0") == "tenant-0"
    assert counted.tenant("tnt_9999") == "other"


def test_every_known_series_begins_at_zero() -> None:
    """Prometheus cannot see the increase of a series that first appears at one."""
    counted = metrics("acme")
    counted.name_tenants({ACME: "acme"})
    before = set(series(counted))
    Tally(counted).solved(
        solved(line(), decision=decided(Route.SINGLE, "verified"), score=1.0), tenant_id=ACME
    )
    assert set(series(counted)) == before


def test_budgets_that_are_gone_leave_no_series() -> None:
    """A gauge says what is, not what was."""
    counted = metrics("acme")
    counted.name_tenants({ACME: "acme"})
    level = BudgetLevel(
        tenant_id=ACME,
        scope="tenant",
        period="day",
        limit=NanoUSD(10_000_000_000),
        spent=NanoUSD(4_000_000_000),
        reserved=NanoUSD(1_000_000_000),
        used=0.5,
    )
    counted.stand(Standing(inflight=2, holds=NanoUSD(1_000_000_000), orphans=1, budgets=(level,)))
    used = 'fathom_budget_used_ratio{period="day",scope="tenant",tenant="acme"}'
    found = series(counted)
    assert found[used] == 0.5
    assert found[used.replace("used_ratio", "reserved_usd")] == 1.0
    assert found["fathom_inflight_solves"] == 2
    assert found["fathom_orphan_calls"] == 1

    counted.stand(Standing(inflight=0, holds=NanoUSD(0), orphans=0, budgets=()))
    found = series(counted)
    assert not [name for name in found if name.startswith("fathom_budget_")]
    assert found["fathom_holds_usd"] == 0


@pytest.mark.parametrize(
    ("op", "phase"),
    [
        ("gate.first", "first"),
        ("gate.second", "opinion"),
        ("strong", "strong"),
        ("t12", "search"),
        ("t12.judge.style.1", "judge"),
        ("gate.first.judge.style.1", "judge"),
        ("tree", "other"),
        ("anything", "other"),
    ],
)
def test_a_call_is_counted_by_what_it_was_for(op: str, phase: str) -> None:
    """The op of the journal, without its numbers."""
    assert phase_of(op) == phase
    assert phase in {*CALL_PHASES, "other"}


def test_labels_know_every_value_that_the_gateway_uses() -> None:
    """What is missing from these sets would be counted as `other`."""
    assert {*Route, NONE} == set(ROUTES)
    assert set(Status) == set(STATUSES)
    assert set(CallState) - {CallState.INTENT} == set(CALL_STATES)
    assert set(Period) == set(PERIODS)


def test_labels_know_every_reason_of_the_gate() -> None:
    """Each that the rule can give, over all that it can be shown."""
    given: set[str] = {"forced", "unconfirmed", NONE}  # those of the run, not of the rule
    given |= set(learned.REASONS)
    shown = itertools.product(
        SecondOpinion, (True, False), (True, False), (0, 10**12), (None, 0.0, 1.0), range(3)
    )
    for opinion, has_evaluator, decisive, value, score, form in shown:
        stakes = Stakes(
            value=NanoUSD(value),
            opinion_cost=NanoUSD(1),
            strong_cost=NanoUSD(1),
            second_opinion=opinion,
            has_evaluator=has_evaluator,
            decisive=decisive,
            target_score=1.0,
        )
        first = FirstAnswer(arrived=form > 0, well_formed=form > 1, score=score)
        verdicts: list[Accept | BuyOpinion | Escalate] = [after_first(first, stakes)]
        verdicts += [after_second(agree=agree, stakes=stakes) for agree in (True, False, None)]
        given |= {said.reason for said in verdicts if not isinstance(said, BuyOpinion)}
    assert given == set(REASONS)
