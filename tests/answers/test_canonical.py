"""Which answers are the same, which are not, and that deciding it is safe on any text."""

from time import perf_counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.answers.canonical import ANSWER_MAX, canonical, cluster, equal

SAME = [
    ("1,000", "1000"),
    ("1000", "1000.0"),
    ("1000.0", "1e3"),
    ("1,000,000.50", "1000000.5"),
    ("-0.0", "0"),
    ("+5", "5"),
    (".5", "0.50"),
    ("1E-3", "0.001"),
    ("\N{MINUS SIGN}5", "- 5"),
    ("$1,000", "1000"),
    ("1,000 apples", "1000  Apples."),
    ("50%", "50 percent"),
    ("50%", r"50\%"),
    ("[1, 2]", "[1,2]"),
    ("[ 1.0,2 ]", "[1, 2]"),
    ("(1,234)", "(1, 234)"),
    ("{'a': 1}", '{"a":1}'),
    ("[[1,2],\n [3,4]]", "[[1, 2], [3, 4]]"),
    ("'abc'", "abc"),
    ('"abc"', "\N{LEFT DOUBLE QUOTATION MARK}abc\N{RIGHT DOUBLE QUOTATION MARK}"),
    ("(B)", "b."),
    ("**Paris**", "paris"),
    ("`x`", "x"),
    ("True", "true"),
    ("Stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE"),
    ("\N{FULLWIDTH DIGIT FIVE}", "5"),
    ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"),
    (r"$\frac{1}{2}$", "1/2"),
    (r"\boxed{\text{Paris}}", "Paris"),
    (r"\(x^2\)", "x^2"),
    (r"1{,}000", "1000"),
    (r"\boxed{\text{1{,}000}}", "1000"),
    (r"90^\circ", "90\N{DEGREE SIGN}"),
    (r"\left(8-4\right) \times 6", "(8 - 4) * 6"),
    ("1e999999999", "1.0e999999999"),
]

DIFFERENT = [
    ("50%", "0.5"),
    ("1/2", "0.5"),
    ("007", "7"),
    ("0011", "11"),
    ("[5]", "5"),
    ("1,234", "1, 234"),
    ("[1,234]", "[1234]"),
    ("1,23", "123"),
    ("5!", "5"),
    ("f'", "f"),
    ("-5", "5"),
    ("1.10.0", "1.1.0"),
    ("(1+2)*(3)", "1+2)*(3"),
    ("?", "!"),
    ("1e999999999", "1e999999998"),
    ("9" * 5_000, "9" * 4_999),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_spellings_of_one_answer_are_equal(left: str, right: str) -> None:
    """Case, spaces, Unicode, LaTeX, quotes and the way a number is written do not matter."""
    assert equal(left, right)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_different_answers_stay_different(left: str, right: str) -> None:
    """Nothing that could be another answer is folded away."""
    assert not equal(left, right)


def test_case_can_be_kept() -> None:
    """For answers in which `a` and `A` differ; numbers and spaces are canonical all the same."""
    assert canonical("Abc", case_sensitive=True) != canonical("abc", case_sensitive=True)
    assert canonical("1E3", case_sensitive=True) == canonical("1,000", case_sensitive=True)


@given(answer=st.text())
@example(answer="[1,]")
@example(answer="\\text{" * 20 + "x" + "}" * 20)
@example(answer="((((((((1))))))))")
@example(answer="$'$'$'x'$'$'$")
@example(answer="\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * ANSWER_MAX)
@example(answer="1e30 " * (ANSWER_MAX // 5))
@example(answer="\ud800")
def test_canonical_is_idempotent(answer: str) -> None:
    """A canonical spelling is its own, for any text; and nothing is raised."""
    assert canonical(canonical(answer)) == canonical(answer)


@given(answer=st.text(alphabet="0123456789.,eE+-%$ ()[]{}'\"*\\textfrac_/"))
def test_canonical_is_idempotent_on_what_looks_like_numbers_and_latex(answer: str) -> None:
    """The same, where every rule has something to bite on."""
    assert canonical(canonical(answer)) == canonical(answer)


def test_canonical_is_idempotent_on_single_characters() -> None:
    """Folding and normalising feed each other for some hundred characters; here is a third."""
    characters = (chr(code) for code in range(0, 0x20000, 3))
    assert all(canonical(canonical(c)) == canonical(c) for c in characters)


@given(number=st.integers(-(10**40), 10**40), zeros=st.integers(0, 5))
def test_an_integer_equals_its_other_spellings(number: int, zeros: int) -> None:
    """Grouped, with decimals, and in scientific notation."""
    assert equal(f"{number}", f"{number:,}")
    assert equal(f"{number}", f"{number}." + "0" * (zeros + 1))
    assert equal(f"{number}", f"{number}" + "0" * zeros + f"e-{zeros}")


@given(left=st.integers(), right=st.integers())
def test_integers_are_equal_when_their_values_are(left: int, right: int) -> None:
    """No two integers share a spelling."""
    assert equal(f"{left:,}", f"{right}") == (left == right)


@pytest.mark.parametrize(
    "answer",
    [
        "1e999999999",
        "9" * 100000,
        "1e" + "9" * 5000,
        "(" * 9999,
        "[" * 9999,
        "1," * 4999,
        "\\frac{" * 1600,
        "{,}" * 3000,
        "x" * 4000000,
        "$" * 9999,
        "*" * 9999,
    ],
)
def test_no_answer_is_dear_to_compare(answer: str) -> None:
    """Number bombs, deep nesting and documents take well under a second."""
    started = perf_counter()
    canonical(answer)
    assert perf_counter() - started < 2


def test_clusters_come_largest_first_and_ties_by_first_appearance() -> None:
    """Absent answers are in no cluster, not even with each other."""
    answers = ["7", None, "1,000", "B", "1e3", None, "(b)", "1000", ""]
    assert cluster(answers) == [[2, 4, 7], [3, 6], [0], [8]]


@given(answers=st.lists(st.none() | st.sampled_from(["1", "1.0", "a", "A ", "b", ""])))
def test_clusters_partition_the_answers_that_are_there(answers: list[str | None]) -> None:
    """Each present answer is in exactly one cluster, with exactly its equals."""
    groups = cluster(answers)
    present = [index for index, answer in enumerate(answers) if answer is not None]
    assert sorted(index for group in groups for index in group) == present
    spellings = [{canonical(answers[index] or "") for index in group} for group in groups]
    assert all(len(spelling) == 1 for spelling in spellings)
    assert len(set[str]().union(*spellings)) == len(groups)
