"""How an answer is found, and that looking for one takes linear time whatever the text."""

import re
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answers.extract import Extract, extract

FOUND = [
    ("tag first", r"\boxed{1} <answer> 2 </answer> 3", "2"),
    ("last tag", "<answer>1</answer> no: <ANSWER>2</ANSWER>", "2"),
    ("an empty tag is none", "<answer>1</answer><answer> </answer>", "1"),
    ("tag talked about", "Write <answer>. <answer>4*6</answer>", "4*6"),
    ("box before the last line", "so \\boxed{5} it is.\nDone.", "5"),
    ("balanced braces", r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    ("last box", r"\boxed{1}, or rather \boxed {2}", "2"),
    ("box in a box", r"\boxed{\boxed{3}}", "3"),
    ("escaped braces", r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    ("stray braces before", r"{ } } { \boxed{7}", "7"),
    ("JSON with an answer", '{"why": "x", "answer": 5}', "5"),
    ("fenced JSON", 'Here:\n```json\n{"answer": "B"}\n```\nBye.', "B"),
    ("last fence", '```\n{"answer": 1}\n```\n```json\n{"final_answer": [1, 2]}\n```', "[1,2]"),
    ("JSON without an answer is a line", '{"x": 1}', '{"x": 1}'),
    ("broken JSON is a line", '{"answer": 1', '{"answer": 1'),
    ("label", "Thinking.\nAnswer: 42", "42"),
    ("bold label", "**Answer:** 42.", "42"),
    ("all bold", "**Answer: 42**", "42"),
    ("both bold", "**Final Answer:** **42**", "42"),
    ("dash", "Final answer - 24", "24"),
    ("a minus is no dash", "Answer: -5", "-5"),
    ("heading", "### Answer: `x+1`", "x+1"),
    ("list", "- **Answer:** 3 apples", "3 apples"),
    ("sentence", "So, the correct answer is (B).", "(B)"),
    ("second sentence", "We get 5. The final answer is **5**.", "5"),
    ("label above", "Answer:\n42\n", "42"),
    ("label below", "42\nAnswer:", "42"),
    ("fence around", "Answer:\n```\n(8-4)*6\n```", "(8-4)*6"),
    ("display maths", "\\[\nx=5\n\\]", "x=5"),
    ("power, not emphasis", "2**3", "2**3"),
    ("two bold words", "**a** and **b**", "**a** and **b**"),
    ("initials", "Wait...", "Wait..."),
    ("no label", "No solution", "No solution"),
]


@pytest.mark.parametrize(("text", "answer"), [row[1:] for row in FOUND], ids=[r[0] for r in FOUND])
def test_default_order_finds_the_answer(text: str, answer: str) -> None:
    """Tag, box, JSON with an answer, last line, in that order."""
    assert extract(text, None) == answer


@pytest.mark.parametrize(
    ("how", "text", "answer"),
    [
        (Extract.TAG, "Answer: 5", None),
        (Extract.TAG, "<answer>5", None),
        (Extract.BOXED, "<answer>5</answer>", None),
        (Extract.BOXED, r"\boxed{ {5}", None),
        (Extract.BOXED, r"\boxed{}", None),
        (Extract.JSON, "Answer: 5", None),
        (Extract.JSON, '{"answer": null}', None),
        (Extract.JSON, '{"answer": NaN}', None),
        (Extract.JSON, '{"answer": " B "}', "B"),
        (Extract.JSON, '{"answer": {"b": 1, "a": true}}', '{"a":true,"b":1}'),
        (Extract.JSON, '{"b": 1, "a": [2, 3]}', '{"a":[2,3],"b":1}'),
        (Extract.JSON, "42", "42"),
        (Extract.JSON, "[" * 100_000, None),
        (Extract.JSON, "9" * 10_000, None),
        (Extract.LAST_LINE, "<answer>5</answer>\nBye", "Bye"),
        (Extract.LAST_LINE, " \n\t\n", None),
    ],
)
def test_a_named_way_is_the_only_way(how: Extract, text: str, answer: str | None) -> None:
    """Nothing else is tried, and what is absent is None."""
    assert extract(text, how) == answer


@pytest.mark.parametrize("text", ["", " ", "\n\n", "**", "```", "---\n***\n```", "Answer:"])
def test_a_text_without_content_has_no_answer(text: str) -> None:
    """None, not an empty string."""
    assert extract(text, None) is None


@given(text=st.text(), how=st.sampled_from([None, *Extract]))
def test_an_answer_is_never_empty(text: str, how: Extract | None) -> None:
    """Whatever the text; and nothing is raised."""
    answer = extract(text, how)
    assert answer is None or re.search(r"\S", answer)


@given(
    parts=st.lists(
        st.sampled_from(
            [
                "<answer>",
                "</answer>",
                r"\boxed{",
                "{",
                "}",
                r"\}",
                "```",
                "\n",
                "Answer:",
                "**",
                "x",
            ]
        )
    ),
    how=st.sampled_from([None, *Extract]),
)
def test_broken_markup_is_never_an_error(parts: list[str], how: Extract | None) -> None:
    """Marks in any order, unbalanced, nested: an answer or None."""
    answer = extract("".join(parts), how)
    assert answer is None or answer.strip()


HOSTILE = {
    "boxes": r"\boxed{",
    "tags": "<answer>",
    "closing tags": "</answer>",
    "spaced boxes": "\\boxed  ",
    "braces after a box": r"\boxed{1}" + "{" * 100,
    "fences": "```{",
    "objects": '{"answer":',
    "lists": "[",
    "labels": "the answer ",
    "sentences": "answer. ",
    "stars": "*",
    "backticks": "`",
    "digits": "9",
    "empty lines": "\n \n",
    "spaces": "x" + " " * 1_000,
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_four_megabytes_of_hostile_text_take_linear_time(unit: str) -> None:
    """Quadratic work on this would take hours; the bound leaves room for a slow machine."""
    text = unit * (4 * 2**20 // len(unit))
    started = perf_counter()
    for how in (None, *Extract):
        extract(text, how)
    assert perf_counter() - started < 30
