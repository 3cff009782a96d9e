"""Results as the documents of the HTTP contract. Pure: facts in, JSON-able values out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from app import __version__
from app.gate.audited import Certified
from app.ledger.batches import BatchRecord
from app.ledger.journal import text_name
from app.ledger.records import CallRecord, SolveRecord
from app.money import NanoUSD, to_usd
from app.solve.attempt import CallLine
from app.solve.outcome import ANSWER
from app.solve.report import (
    DecisionFacts,
    EvaluationFacts,
    ParallelFacts,
    SearchFacts,
    ShortageFacts,
    Solved,
    Status,
)

JUDGE_MARK = ".judge."

UNCERTIFIED: Final = {"kind": "uncertified", "valid": False}
"""What a decision of the gate says of a guarantee where its audits certify none."""


def solve_document(solved: Solved, text: str | None) -> dict[str, Any]:
    """The solve object of a finished solve; `text` is None where there is none or it was erased."""
    return {
        "id": solved.id,
        "object": "solve",
        "created_at": solved.created_at,
        "completed_at": solved.completed_at,
        "status": solved.status,
        "incomplete_details": _incomplete(solved),
        "error": _error(solved),
        "output_text": text,
        "output": [] if text is None else [_message(text)],
        "decision": None if solved.decision is None else _decision(solved.decision),
        "confidence": solved.confidence,
        "low_confidence": solved.low_confidence,
        "stop_reason": solved.stop_reason,
        "search": None if solved.search is None else _search(solved.search),
        "parallel": None if solved.parallel is None else _parallel(solved.parallel),
        "evaluation": None if solved.evaluation is None else _evaluation(solved.evaluation),
        "usage": _usage(solved.calls),
        "failures": _failures(solved.calls),
        "cost": _cost(solved, solved.calls),
        "budget": {
            "max_cost_usd": to_usd(solved.cap),
            "spent_usd": to_usd(solved.spent),
            "limited_by": solved.limited_by,
        },
        "timing": {
            "gate_ms": _ms(solved.timing.gate_ms),
            "search_ms": _ms(solved.timing.search_ms),
            "total_ms": _ms(solved.timing.total_ms),
        },
        "lineage": {
            "path": list(solved.lineage.path),
            "experts": list(solved.lineage.experts),
            "op": solved.lineage.op,
            "seed": solved.lineage.seed,
            "gateway": __version__,
        },
        "resumed_from": solved.resumed_from,
        "replay_of": solved.replay_of,
        "replayed_cost": None if solved.replay_of is None else _cost(solved, solved.replayed),
        "links": links(solved.id),
        "metadata": dict(solved.metadata),
    }


def shortage_document(shortage: ShortageFacts | None) -> dict[str, Any]:
    """The members that a problem has where a budget or a limit had no room."""
    if shortage is None:
        return {}
    document: dict[str, Any] = {"scope": shortage.scope}
    if shortage.available is not None and shortage.asked is not None:
        document |= {
            "remaining_usd": to_usd(shortage.available),
            "needed_usd": to_usd(shortage.asked),
            "resets_at": shortage.resets_at_s,
        }
    elif shortage.resets_at_s is not None:
        document["resets_at"] = shortage.resets_at_s
    if shortage.limit is not None:
        document["limit"] = shortage.limit
    return document


def running_document(record: SolveRecord) -> dict[str, Any]:
    """The solve object of one that has not ended."""
    return {
        "id": record.id,
        "object": "solve",
        "created_at": int(record.created_at.timestamp()),
        "completed_at": None,
        "status": "in_progress",
        "budget": {"max_cost_usd": to_usd(record.cap), "spent_usd": to_usd(record.posted)},
        "resumed_from": record.resumed_from,
        "links": links(record.id),
    }


def batch_document(batch: BatchRecord) -> dict[str, Any]:
    """The batch object, in OpenAI's shape; money, and links in place of files, are ours."""
    ended, self_link = _at(batch.ended_at), f"/v1/batches/{batch.id}"
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/solve",
        "errors": None,
        "input_file_id": None,
        "output_file_id": None,
        "error_file_id": None,
        "completion_window": batch.window,
        "status": batch.state,
        "created_at": _at(batch.created_at),
        "in_progress_at": _at(batch.created_at),
        "expires_at": _at(batch.expires_at),
        "finalizing_at": _at(batch.expired_at),
        "completed_at": ended if batch.state == "completed" else None,
        "failed_at": None,
        "expired_at": ended if batch.state == "expired" else None,
        "cancelling_at": _at(batch.cancelling_at),
        "cancelled_at": ended if batch.state == "cancelled" else None,
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "budget": {
            "max_cost_usd": to_usd(batch.cap),
            "spent_usd": to_usd(batch.spent),
            "held_usd": to_usd(batch.held),
        },
        "links": {"self": self_link, "output": f"{self_link}/output"},
        "metadata": None,
    }


def _at(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp())


def candidates(calls: Sequence[CallRecord], texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every answer that was paid for; `text` is None once it has been erased."""
    return [
        {
            "op": call.op,
            "expert": call.expert,
            "score": call.score,
            "cost_usd": to_usd(call.cost),
            "text": texts.get(text_name(call.op)),
        }
        for call in calls
        if call.state == "ok"
    ]


def links(solve_id: str) -> dict[str, str]:
    """Where to read on."""
    solve = f"/v1/solves/{solve_id}"
    parts = ("events", "tree", "receipt")
    return {"self": solve} | {part: f"{solve}/{part}" for part in parts}


def stored_text(texts: Mapping[str, str]) -> str | None:
    """The text of the answer among a solve's texts."""
    return texts.get(ANSWER)


def _message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text}
    return {"type": "message", "role": "assistant", "content": [part]}


def _incomplete(solved: Solved) -> dict[str, str] | None:
    return None if solved.incomplete_reason is None else {"reason": solved.incomplete_reason}


def _error(solved: Solved) -> dict[str, str | None] | None:
    if solved.status is not Status.FAILED or solved.error is None:
        return None
    return {"kind": solved.error.kind, "message": solved.error.detail}


def _decision(made: DecisionFacts) -> dict[str, Any]:
    return {
        "route": made.route,
        "reason": made.reason,
        "p_single": made.p_single,
        "p_alternative": made.p_alternative,
        "expected_gain_usd": _optional(made.gain),
        "second_opinion": {"bought": made.opinion_bought, "agree": made.opinion_agrees},
        "top_reasons": list(made.because),
        "certificate": None if made.gate_version is None else _certificate(made.certificate),
        "gate_version": made.gate_version,
        "propensity": made.propensity,
    }


def _certificate(stands: Certified | None) -> Mapping[str, Any]:
    if stands is None:
        return UNCERTIFIED
    return {
        "kind": "regret",
        "epsilon": stands.epsilon,
        "delta": stands.delta,
        "n": stands.audits,
        "scope": stands.scope,
        "valid": True,
    }


def _search(facts: SearchFacts) -> dict[str, Any]:
    return {
        "algorithm": facts.algorithm,
        "nodes": facts.nodes,
        "max_depth": facts.max_depth,
        "best_node": facts.best_node,
        "best_score": facts.best_score,
        "calls": {"fresh": facts.fresh, "refine": facts.refine, "failed": facts.failed},
        "resumed": facts.resumed,
    }


def _parallel(facts: ParallelFacts) -> dict[str, Any]:
    return {
        "drafts": facts.drafts,
        "passes": facts.passes,
        "answers": facts.answers,
        "vote": {
            "leading": facts.leading,
            "of": facts.votes,
            "agreement": round(facts.agreement, 6),
        },
        "failed": facts.failed,
    }


def _evaluation(facts: EvaluationFacts) -> dict[str, Any]:
    return {
        "score": facts.score,
        "passed": facts.passed,
        "combine": facts.combine,
        "items": [
            {
                "id": item.id,
                "type": item.type,
                "score": item.score,
                "ms": round(item.ms, 3),
                "error": item.error,
            }
            for item in facts.items
        ],
    }


def _usage(calls: Sequence[CallLine]) -> dict[str, Any]:
    experts = sorted({line.expert for line in calls})
    total_in = sum(line.input_tokens or 0 for line in calls)
    total_out = sum(line.output_tokens or 0 for line in calls)
    return {
        "input_tokens": total_in,
        "output_tokens": total_out,
        "total_tokens": total_in + total_out,
        "by_expert": [
            _expert_usage(expert, [line for line in calls if line.expert == expert])
            for expert in experts
        ],
        "unreported_calls": sum(line.state == "ok" and line.input_tokens is None for line in calls),
    }


def _failures(calls: Sequence[CallLine]) -> list[dict[str, Any]]:
    """The experts of which a call failed: how many did, and how the last of them ended."""
    failed = [(line.expert, line.error) for line in calls if line.state != "ok"]
    counts = Counter(expert for expert, _ in failed)
    return [
        {"expert": expert, "calls": counts[expert], "error": error}
        for expert, error in dict(failed).items()
    ]


def _expert_usage(expert: str, calls: Sequence[CallLine]) -> dict[str, Any]:
    return {
        "expert": expert,
        "calls": len(calls),
        "input_tokens": sum(line.input_tokens or 0 for line in calls),
        "output_tokens": sum(line.output_tokens or 0 for line in calls),
        "cost_usd": _sum(calls),
    }


def _cost(solved: Solved, calls: Sequence[CallLine]) -> dict[str, Any]:
    gate = [line for line in calls if line.op == "gate.second"]
    judged = [line for line in calls if JUDGE_MARK in line.op]
    made = [line for line in calls if line not in gate and line not in judged]
    wasted = [line for line in calls if line.state != "ok"]
    return {
        "total_usd": _sum(calls),
        "gate_usd": _sum(gate),
        "generation_usd": _sum(made),
        "evaluation_usd": _sum(judged),
        "wasted_usd": _sum(wasted),
        "price_versions": sorted({line.price_version for line in calls}),
        "estimated": any(line.estimated for line in calls),
        "baseline": {
            "single_usd": _optional(solved.single_baseline),
            "strong_usd": _optional(solved.strong_baseline),
        },
    }


def _sum(calls: Sequence[CallLine]) -> str:
    return to_usd(NanoUSD(sum(line.cost for line in calls)))


def _optional(amount: NanoUSD | None) -> str | None:
    return None if amount is None else to_usd(amount)


def _ms(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
