"""Fitting anew: better weights take over, others do not, and few labels are not enough."""

import json
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from app.catalogue import read_weights
from app.cli import app
from app.db.engine import WriteTx
from app.gate.document import document_of, model_from
from app.gate.signals import NAMES
from app.ids import SolveId, TenantId
from app.learning import book
from app.learning.lesson import Lesson
from app.learning.refit import fitted
from app.learning.tables import GateExample, GateWeights
from app.providers.scripted import reply
from app.settings import BadConfiguration, GateConfig
from tests.gateway import fathom
from tests.solve.test_learning import learned

DOCUMENT = read_weights(GateConfig())
assert DOCUMENT is not None
SHIPPED = model_from(DOCUMENT)


def lessons(count: int, *, pooled: bool = True, tenant: str = "ten_1") -> list[Lesson]:
    """The cheap arm is right where one feature is high, the strong one always."""
    rng = Random(1)
    made: list[Lesson] = []
    for number in range(count):
        high = rng.random() < 0.5
        features = [0.0] * len(NAMES)
        features[0], features[NAMES.index("log_tokens")] = 1.0, 6.0 if high else 3.0
        made.append(
            Lesson(
                solve_id=SolveId(f"slv_{tenant}_{number}"),
                tenant_id=TenantId(tenant),
                pair="cheap>strong",
                category="sums",
                pooled=pooled,
                version=SHIPPED.version,
                propensity=1.0,
                route="strong",
                answered="strong",
                same=False,
                agreed=high if rng.random() < 0.5 else None,
                features=tuple(features),
                source="verifier",
                cheap=float(high if rng.random() < 0.9 else not high),
                strong=1.0,
            )
        )
    return made


def test_better_weights_are_told_from_worse_ones() -> None:
    """On the newest lessons, which they were not fitted on."""
    found, made = fitted(lessons(800), SHIPPED)
    assert found.promoted
    assert made is not None
    assert found.loss is not None
    assert found.loss_before is not None
    assert found.loss < found.loss_before
    again, _ = fitted(lessons(800), made)
    assert not again.promoted  # the same weights are no better than themselves
    assert document_of(made)["version"] == found.version


def test_few_labels_fit_nothing() -> None:
    """The shipped weights know more."""
    found, made = fitted(lessons(100), SHIPPED)
    assert (found.promoted, made, found.labels) == (False, None, 100)


async def test_promoted_weights_decide_at_once_and_everywhere(database_url: str) -> None:
    """And a tenant whose labels are not pooled has no part in them."""
    async with fathom(database_url, reply("391"), config=learned()) as running:
        learner = running.gateway.learner
        for lesson in lessons(500, pooled=False):
            learner.learn(lesson)
        found = await learner.refit()
        assert found is not None
        assert found.version is None
        for lesson in lessons(500, tenant="ten_2"):
            learner.learn(lesson)
        found = await learner.refit()
        assert found is not None
        assert found.promoted
        before = await running.solved()
        assert before["decision"]["gate_version"] == SHIPPED.version
        await learner.refresh()
        after = await running.solved()
        assert after["decision"]["gate_version"] == found.version
        again = await running.client.post("/v1/solve", json={"replay_of": before["id"]})
        assert again.json()["decision"] == before["decision"]
    async with fathom(database_url, reply("391"), config=learned()) as later:
        solve = await later.solved()
        assert solve["decision"]["gate_version"] == found.version


async def test_lessons_are_kept_thirteen_months_and_hold_no_text(database_url: str) -> None:
    """What is older goes when a process starts."""
    async with fathom(database_url, reply("the secret is 391"), config=learned()) as running:
        solve = await running.solved({"metadata": {"category": "sums"}})
        await running.gateway.learner.flush()
        async with running.gateway.database.read() as tx:
            row = (await tx.execute(select(GateExample))).mappings().one()
            assert (await tx.execute(select(GateWeights.version))).scalars().all()
        assert row["solve_id"] == solve["id"]
        assert (row["category"], row["pair"]) == ("sums", "cheap>strong")
        assert "secret" not in str(dict(row))
        assert len(row["features"]) == len(NAMES)

        async def forget(tx: WriteTx) -> int:
            await book.forget(tx)
            return len((await tx.execute(select(GateExample.solve_id))).all())

        assert await running.gateway.database.write(forget) == 1


def test_trainer_says_what_is_missing(sqlite_url: str, tmp_path: Path) -> None:
    """Labels, or half of the question."""
    settings = {"FATHOM_DATABASE_URL": sqlite_url}
    done = CliRunner().invoke(app, ["gate", "train"], env=settings)
    assert done.exit_code == 0, done.output
    assert "0 problems with both arms' outcomes; 400 are needed" in done.output
    half = CliRunner().invoke(app, ["gate", "train", "--out", str(tmp_path / "w.json")])
    assert "go together" in str(half.exception)


@pytest.mark.parametrize("text", ["", "{}", "[1]", json.dumps({**DOCUMENT, "features": []})])
def test_file_that_holds_no_weights_is_refused(text: str, tmp_path: Path) -> None:
    """At start, by the configuration's key."""
    file = tmp_path / "weights.json"
    file.write_text(text, "utf-8")
    with pytest.raises(BadConfiguration, match=r"gate\.weights"):
        read_weights(GateConfig(weights=str(file)))


async def test_weights_that_cannot_be_read_fail_no_replay_by_themselves(sqlite_url: str) -> None:
    """They are as good as lost, and no request waits for them twice."""
    async with fathom(sqlite_url, reply("391"), config=learned()) as running:

        async def work(tx: WriteTx) -> None:
            await book.register(tx, {"version": "g0", "format": 0}, promoted=True)

        await running.gateway.database.write(work)
        assert await running.gateway.learner.fetch("g0") is None
        assert await running.gateway.learner.fetch("never") is None
        await running.gateway.learner.refresh()
        solve = await running.solved()
        assert solve["decision"]["gate_version"] == SHIPPED.version
