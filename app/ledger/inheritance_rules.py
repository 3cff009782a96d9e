"""What must hold of trees: a node is an answer, paid for once, here or by a solve before."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Select, and_, func, not_, or_, select
from sqlalchemy.orm import aliased

from app.ledger.postings import CallState
from app.ledger.tables import Call, InheritedNode, Solve

Query = Select[*tuple[Any, ...]]


def _node_of_no_answer() -> Query:
    is_node = and_(Call.told_seq.is_not(None), Call.score.is_not(None))
    return select(Call.id).where(is_node, Call.state != CallState.OK)


def _inherited_from_elsewhere() -> Query:
    """Each is an answer of the solve before, or one that this one had inherited itself."""
    heir, before = aliased(Solve), aliased(InheritedNode)
    earlier = func.coalesce(heir.resumed_from, heir.replay_of)
    handed_on = select(before.call_id).where(
        before.solve_id == earlier, before.call_id == InheritedNode.call_id
    )
    belongs = or_(Call.solve_id == earlier, handed_on.exists())
    is_own_tenants = Solve.tenant_id == heir.tenant_id
    return (
        select(InheritedNode.solve_id, InheritedNode.call_id)
        .join(heir, heir.id == InheritedNode.solve_id)
        .join(Call, Call.id == InheritedNode.call_id)
        .join(Solve, Solve.id == Call.solve_id)
        .where(
            or_(earlier.is_(None), Call.state != CallState.OK, not_(belongs), not_(is_own_tenants))
        )
    )


def _paid_again() -> Query:
    own = aliased(Call)
    return (
        select(own.id)
        .join(InheritedNode, InheritedNode.solve_id == own.solve_id)
        .join(Call, and_(Call.id == InheritedNode.call_id, Call.op == own.op))
        .where(own.state == CallState.OK)
    )


def _inherited_with_a_gap() -> Query:
    counted = select(InheritedNode.solve_id).group_by(InheritedNode.solve_id)
    first, last = func.min(InheritedNode.node), func.max(InheritedNode.node)
    return counted.having(or_(first != 1, last != func.count()))


def _replayed_at_a_cost() -> Query:
    return select(Solve.id).where(
        Solve.replay_of.is_not(None), or_(Solve.cap != 0, Solve.hold != 0, Solve.posted != 0)
    )


QUERIES: Final[Mapping[str, Query]] = {
    "a node is an answered call": _node_of_no_answer(),
    "an inherited node is an answer of the solve before": _inherited_from_elsewhere(),
    "inherited nodes are numbered without a gap": _inherited_with_a_gap(),
    "what is inherited is not paid for again": _paid_again(),
    "a replay costs nothing": _replayed_at_a_cost(),
}
