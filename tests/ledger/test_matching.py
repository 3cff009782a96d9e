"""Which charge of a report is for which call, in values alone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.ledger.matching import Booked, Bucket, compare
from app.ledger.provider_reports import ReportFormat, ReportRow, read_report, total
from app.ledger.report_lines import lines_of
from app.money import NanoUSD

TEN = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
MODELS = ("small", "large")


def booked(
    name: str,
    known: int,
    *,
    request_id: str | None = None,
    model: str = "small",
    returned: str | None = None,
    at: datetime = TEN,
) -> Booked:
    """A call of ours, with 5 in suspense."""
    return Booked(name, "slv_1", model, returned, request_id, at, NanoUSD(known), NanoUSD(5))


def row(
    nano: int, *, request_id: str | None = None, model: str | None = "small", at: datetime = TEN
) -> ReportRow:
    """A charge of the provider's."""
    return ReportRow(Decimal(nano).scaleb(-9), request_id, "key-1", model, at)


def differences(
    rows: Sequence[ReportRow], calls: Sequence[Booked], *, whole: bool = False
) -> dict[str, int]:
    """By call or by model and hour, what was charged beyond what was known."""
    covered = (TEN, TEN + timedelta(hours=2)) if whole else None
    found = compare(rows, calls, covered=covered, before={})
    by_call = {one.call.call_id: int(one.difference) for one in found.matched}
    return by_call | {
        f"{rest.bucket[0]} {'' if rest.bucket[1] is None else rest.bucket[1].hour}": int(
            rest.difference
        )
        for rest in found.rests
    }


def test_request_id_names_the_call() -> None:
    """Whatever the model or the hour that the report has for it; its rows are added up."""
    calls = [booked("a", 30, request_id="r1"), booked("b", 12, request_id="r2")]
    rows = [
        row(20, request_id="r1", model=None),
        row(15, request_id="r1", at=TEN + timedelta(hours=3)),
        row(10, request_id="r2"),
    ]
    assert differences(rows, calls) == {"a": 5, "b": -2}


def test_rows_without_a_request_are_compared_by_model_and_hour() -> None:
    """Under the name that the report has for the model."""
    calls = [
        booked("a", 30),
        booked("b", 10, model="alias", returned="small"),
        booked("c", 7, at=TEN + timedelta(hours=1)),
        booked("d", 7, model="large"),
    ]
    rows = [row(41), row(9, at=TEN + timedelta(minutes=59)), row(3, at=TEN + timedelta(hours=1))]
    assert differences(rows, calls) == {"small 10": 10, "small 11": -4}


def test_call_that_a_report_lacks_stays_unless_the_report_is_whole() -> None:
    """Then it was not charged."""
    calls = [booked("a", 30, request_id="r1"), booked("b", 12, request_id="r2")]
    assert differences([row(30, request_id="r1")], calls) == {"a": 0}
    assert differences([row(30, request_id="r1")], calls, whole=True) == {"a": 0, "small 10": -12}


def test_request_that_nobody_knows_may_be_a_call_without_an_answer() -> None:
    """Not one that is known under another id; without either, nothing of ours is behind it."""
    orphan, other = booked("a", 0), booked("b", 12, request_id="r2")
    assert differences([row(20, request_id="r9")], [orphan, other]) == {"small 10": 20}
    found = compare([row(20, request_id="r9")], [orphan, other], before={})
    assert ([c.call_id for c in found.rests[0].calls], found.rests[0].is_unknown) == (["a"], False)
    found = compare([row(20, request_id="r9")], [other], before={})
    assert (found.rests[0].calls, found.rests[0].is_unknown) == ([], True)
    assert lines_of(found)[0].is_unknown


def test_later_report_takes_back_what_an_earlier_one_said() -> None:
    """Where it is whole: something charged that is charged no more."""
    before: dict[Bucket, NanoUSD] = {("small", TEN): NanoUSD(20)}
    covered = (TEN, TEN + timedelta(hours=1))
    (rest,) = compare([row(1, model="large")], [], covered=covered, before=before).rests[1:]
    assert (rest.bucket, rest.difference) == (("small", TEN), -20)
    (rest,) = compare([row(25)], [], before=before).rests
    assert rest.difference == 5


CALLS = st.lists(
    st.builds(
        booked,
        st.uuids().map(str),
        st.integers(0, 50),
        request_id=st.sampled_from(["r1", "r2", "r3", None]),
        model=st.sampled_from(MODELS),
        at=st.integers(0, 7199).map(lambda seconds: TEN + timedelta(seconds=seconds)),
    ),
    max_size=8,
    unique_by=lambda call: call.call_id,
)
ROWS = st.lists(
    st.builds(
        row,
        st.integers(0, 50),
        request_id=st.sampled_from(["r1", "r2", "r9", None]),
        model=st.sampled_from(MODELS),
        at=st.integers(0, 7199).map(lambda seconds: TEN + timedelta(seconds=seconds)),
    ),
    max_size=8,
)


@given(calls=CALLS, rows=ROWS, whole=st.booleans())
def test_no_charge_and_no_call_is_counted_twice_or_lost(
    *, calls: list[Booked], rows: list[ReportRow], whole: bool
) -> None:
    """What is known and how it differs is what was reported; lines add up to the same."""
    covered = (TEN, TEN + timedelta(hours=2)) if whole else None
    found = compare(rows, calls, covered=covered, before={})
    seen = [one.call.call_id for one in found.matched]
    seen += [call.call_id for rest in found.rests for call in rest.calls]
    assert len(seen) == len(set(seen))
    assert not whole or set(seen) == {call.call_id for call in calls}
    known = sum(call.known for call in calls if call.call_id in seen)
    differs = sum(one.difference for one in found.parts)
    assert known + differs == total(rows)
    lines = lines_of(found)
    assert sum(line.reported for line in lines) == total(rows)
    assert sum(line.difference for line in lines) == differs
    assert sum(line.rows for line in lines) == len(rows)
    assert sum(line.suspended for line in lines) == 5 * len(seen)


CSV = """request_id,model,time,key,cost_usd,input_tokens
r1,small,2026-11-21T10:00:00Z,key-1,0.00000003,12
,small,2026-11-21T12:00:00+01:00,,1.5e-8,7
"""
JSON = """[{"request_id": "r1", "cost_usd": 0.00000003, "model": "small",
            "time": "2026-11-21T10:00:00Z", "key": "key-1"},
           {"model": "small", "time": "2026-11-21T11:00:00", "cost_usd": "0.000000015"}]"""


@pytest.mark.parametrize(("text", "form"), [(CSV, ReportFormat.CSV), (JSON, ReportFormat.JSON)])
def test_report_is_read_to_the_last_digit(text: str, form: ReportFormat) -> None:
    """Floats are read as they are written; other columns are not read."""
    rows = read_report(text, form)
    assert [one.cost for one in rows] == [Decimal("3E-8"), Decimal("1.5E-8")]
    assert [one.request_id for one in rows] == ["r1", None]
    assert [one.hour for one in rows] == [TEN, TEN + timedelta(hours=1)]
    assert total(rows) == 45


def test_fractions_of_a_nano_dollar_are_rounded_up_once() -> None:
    """In the sum, as in a price."""
    assert total([ReportRow(Decimal("0.4E-9"), "r")] * 4) == 2


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("model,time,cost_usd\nsmall,2026-11-21,much\n", "csv", "row 1: cost_usd is 'much'"),
        ("model,time,cost_usd\nsmall,noon,1\n", "csv", "row 1: time is 'noon'"),
        ("model,cost_usd\nsmall,1\n", "csv", "row 1: needs a request_id, or model and time"),
        ("request_id\nr1\n", "csv", "row 1: cost_usd is None"),
        ("request_id,cost_usd\nr1,NaN\n", "csv", "row 1: cost_usd is 'NaN'"),
        ("request_id,cost_usd\nr1,1e30\n", "csv", "row 1: cost_usd is '1e30'"),
        (f"request_id,cost_usd\n{'r' * 129},1\n", "csv", "row 1: request_id is no name"),
        ("{}", "json", "no list of objects"),
        ("[1]", "json", "no list of objects"),
        ("[", "json", "no list of objects"),
    ],
)
def test_report_that_cannot_be_read_is_refused(text: str, form: str, said: str) -> None:
    """Whole, naming the row."""
    with pytest.raises(InvalidRequest, match=said):
        read_report(text, ReportFormat(form))
