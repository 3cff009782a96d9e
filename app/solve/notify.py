"""What a webhook says of a solve that has ended. Facts and money: never a text, nor a name.

The notice goes into the outbox in the transaction that ends the solve: either both are, or neither.
"""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from app.ids import TenantId
from app.money import to_usd
from app.notices.notice import Channel, Notice
from app.solve.report import Solved, Status
from app.solve.request import Webhook

EVENT: Final = "solve."


def notices(wanted: Webhook | None, solved: Solved, *, tenant_id: TenantId) -> tuple[Notice, ...]:
    """The notice that the request asked for, if it wants to hear of such an end."""
    if wanted is None or solved.status not in wanted.events:
        return ()
    event = EVENT + solved.status
    at = datetime.fromtimestamp(solved.completed_at, UTC)
    document = {
        "type": event,
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "data": _told(solved),
    }
    return (
        Notice(
            # Made of the solve's, so that a solve has one however often its end is written.
            id=f"msg_{solved.id.removeprefix('slv_')}",
            tenant_id=tenant_id,
            channel=Channel.WEBHOOK,
            destination=wanted.url,
            event=event,
            body=msgspec.json.encode(document).decode(),
        ),
    )


def _told(solved: Solved) -> dict[str, Any]:
    incomplete, failed = solved.incomplete_reason, solved.status is Status.FAILED
    return {
        "id": solved.id,
        "object": "solve",
        "status": solved.status,
        "created_at": solved.created_at,
        "completed_at": solved.completed_at,
        "incomplete_details": None if incomplete is None else {"reason": incomplete},
        "error": {"kind": solved.error.kind} if failed and solved.error is not None else None,
        "route": None if solved.decision is None else solved.decision.route,
        "cost": {"total_usd": to_usd(solved.spent)},
        "links": {"self": f"/v1/solves/{solved.id}"},
    }
