"""Where a text of a request or an answer may be kept: a word on each column with room for one."""

import importlib
import pkgutil
from collections import Counter
from typing import Final

from sqlalchemy import String

import app
from app.db.base import Base, Document

DECISIONS: Final[dict[str, str]] = {
    "erased with its solve": """
        payload.body solve_input.request solve_input.plan solve_input.inherited
        call.error call.abandoned
    """,
    "erased with its solve, but for figures, words of ours and the caller's metadata": """
        solve.result
    """,
    "erased when the line ends": "batch_line.request",
    "erased with the tenant's texts, or a week after its batch has ended": """
        batch_line.error_detail
    """,
    "facts without a text, deleted with its row, after 30 days at the most": """
        outbox.body outbox.error outbox.destination
    """,
    "the caller's own name for something, no part of a problem, kept beside the money": """
        batch.idempotency_key batch_line.custom_id idempotency.key solve.session budget.session
    """,
    "a provider's name for something, by which its bill is compared": """
        call.returned_model call.provider_request_id provider_report_line.key
        provider_report_line.model
    """,
    "an operator's name for something, or words about money": """
        tenant.name tenant.policy organisation.name project.name project.cost_center
        api_key.name api_key.cost_center solve.cost_center alert_rule.label
        alert_rule.destination alert.destination budget_raise.reason correction.reference
        correction.subject correction.reason provider_report.name call.expert call.provider
        gate_example.pair gate_audit.pair expert_score.expert call.model price.provider price.model
        provider_report.provider
        budget_rule.timezone webhook_secret.secret
    """,
    "sums": "statement.document statement.month gate_weights.document",
    "counts of a text, and what its caller calls its category, deleted after thirteen months": """
        gate_example.features gate_example.category expert_score.category gate_audit.category
    """,
    "one of our few words": """
        batch.completion_window batch.state budget_rule.scope budget_rule.period limit_rule.scope
        limit_rule.unit outbox.channel outbox.event outbox.state price.unit solve.state solve.route
        alert_rule.channel alert.channel batch_line.state batch_line.error_kind call.op call.state
        call.finish_reason correction.kind entry.kind payload.name gate_example.route
        gate_example.answered gate_example.source
    """,
    "an id, a hash or a list of ids": """
        batch.id batch.tenant_id batch.key_id batch.body_sha256 budget_rule.id
        budget_rule.tenant_id budget_rule.scope_id limit_rule.id limit_rule.tenant_id
        limit_rule.scope_id organisation.id outbox.id outbox.tenant_id price.version
        provider_report.id provider_report.sha256 replica.id solve.id solve.tenant_id
        solve.project_id solve.key_id solve.owner solve.budgets solve.resumed_from solve.replay_of
        solve.org_id solve.limits call.limit_windows statement.tenant_id tenant.id tenant.org_id
        webhook_secret.tenant_id alert_rule.id alert_rule.rule_id api_key.id api_key.tenant_id
        api_key.sha256 api_key.project_id batch_line.batch_id batch_line.solve_id batch_line.owner
        budget.id budget.rule_id budget.tenant_id budget_raise.id budget_raise.rule_id call.id
        call.solve_id call.expert_version call.price_version call.prompt_sha256
        failed_claim.solve_id idempotency.tenant_id idempotency.body_sha256 idempotency.solve_id
        limit_window.id limit_window.rule_id payload.solve_id project.id project.tenant_id
        provider_report_line.report_id solve_input.solve_id alert.notice_id alert.budget_id
        correction.id correction.account correction.solve_id correction.call_id
        inherited_node.solve_id inherited_node.call_id entry.id entry.call_id entry.correction_id
        entry.solve_id entry.account entry.price_version gate_example.solve_id
        gate_audit.solve_id gate_audit.audit_id gate_audit.tenant_id gate_audit.versions
        gate_example.tenant_id gate_example.version gate_weights.version expert_score.tenant_id
    """,
}
"""What becomes of a text that a column may hold."""


def columns() -> set[str]:
    """Those of every table in which a text has room."""
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name.endswith("tables"):
            importlib.import_module(module.name)
    return {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, String | type(Document))
    }


def test_each_column_with_room_for_a_text_has_one_decision() -> None:
    """Whoever adds one says here what erases it, or why no text comes there."""
    decided = Counter(name for names in DECISIONS.values() for name in names.split())
    assert [name for name, times in decided.items() if times > 1] == []
    assert columns() ^ set(decided) == set()
