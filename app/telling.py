"""The operator's commands for what is told: alerts on budgets, and what signs webhooks."""

from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from app.accounts import Scope
from app.alerts import alert, make_webhook_secret
from app.bounds import Owner, budgets
from app.errors import InvalidRequest
from app.ledger.periods import Period
from app.ledger.thresholds import Threshold
from app.notices.notice import Channel
from app.operate import TenantName, on_database

webhooks = typer.Typer(help="What signs the notices to a tenant.", no_args_is_help=True)


@webhooks.callback()
def _webhooks() -> None:
    """Keep `secret` a command of its own: a group of one would be that command."""


@budgets.command("alert")
def alert_on_budget(
    tenant: Owner,
    *,
    at: Annotated[str, typer.Option(help="The share of the limit that is spent, such as 0.8.")],
    webhook: Annotated[str | None, typer.Option(help="URL; signed with the secret.")] = None,
    slack: Annotated[str | None, typer.Option(help="Incoming webhook of Slack.")] = None,
    email: Annotated[str | None, typer.Option(help="Address; FATHOM_SMTP_URL.")] = None,
    scope: Annotated[Scope, typer.Option(help="Whose spending it is.")] = Scope.TENANT,
    name: Annotated[str | None, typer.Option(help="The project's name or the key's id.")] = None,
    period: Annotated[Period | None, typer.Option(help="Which budget; otherwise each.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Take the alert away.")] = False,
) -> None:
    """Tell somebody, once a period, when so much of a budget is spent."""
    channels = {Channel.WEBHOOK: webhook, Channel.SLACK: slack, Channel.EMAIL: email}
    named = [(channel, to) for channel, to in channels.items() if to is not None]
    if len(named) != 1:
        raise InvalidRequest("alert", "name one of --webhook, --slack and --email")
    threshold = Threshold(_percent(at), *named[0])
    on_database(
        lambda database: alert(
            database, threshold, tenant=tenant, scope=scope, name=name, period=period, off=off
        )
    )


@webhooks.command("secret")
def make_secret(tenant: TenantName) -> None:
    """Make a secret that signs a tenant's webhooks; it is shown once.

    The one before it signs too, until the next is made, so that a receiver can change over.
    """
    typer.echo(on_database(lambda database: make_webhook_secret(database, tenant=tenant)))


def _percent(share: str) -> int:
    """Hundredths of a share; 0, which is none, for what is no whole number of them."""
    try:
        hundredths = Decimal(share) * 100
        whole = 0 < hundredths <= 100 and hundredths == hundredths.to_integral_value()
    except InvalidOperation:
        return 0
    return int(hundredths) if whole else 0
