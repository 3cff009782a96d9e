from dataclasses import replace

import pytest

from app.money import NanoUSD
from app.tenants.policy import Expert, Policy

EXPERT = Expert("cheap", "acme", "small", max_output_tokens=100)


@pytest.mark.parametrize(
    "changed",
    [
        replace(EXPERT, provider="other"),
        replace(EXPERT, model="large"),
        replace(EXPERT, max_output_tokens=101),
        replace(EXPERT, instructions="Think."),
        replace(EXPERT, temperature=0.0),
        replace(EXPERT, template_tokens=1),
    ],
)
def test_version_changes_with_whatever_changes_the_answers(changed: Expert) -> None:
    """So that a call's record says how it was made."""
    assert changed.version != EXPERT.version
    assert len(changed.version) <= 16


def test_version_does_not_depend_on_the_name() -> None:
    """The same way to answer under two names is one."""
    assert replace(EXPERT, name="other").version == EXPERT.version


def test_policy_allows_every_expert_that_has_a_role() -> None:
    """And no other."""
    policy = Policy(
        name="default",
        default_expert="a",
        second_opinion_expert="b",
        strong_expert="c",
        search_experts=("a", "d"),
        value=NanoUSD(1),
        auto_cap=NanoUSD(1),
        search_cap=NanoUSD(1),
        deadline_s=1.0,
        concurrency=1,
    )
    assert policy.allowed() == {"a", "b", "c", "d"}
