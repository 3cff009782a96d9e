import time
from uuid import RFC_4122

from app.ids import solve_id, tenant_id, uuid7


def test_uuid7_carries_its_version_and_the_time() -> None:
    """RFC 9562, section 5.7: 48 bits of Unix milliseconds come first."""
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= after


def test_ids_sort_by_the_time_they_were_made() -> None:
    """To the millisecond."""
    first = solve_id()
    time.sleep(0.002)
    assert first < solve_id()


def test_ids_of_one_millisecond_differ() -> None:
    """74 bits are random."""
    assert len({uuid7() for _ in range(10_000)}) == 10_000


def test_ids_say_what_they_name_and_fit_their_columns() -> None:
    """A prefix and 32 hexadecimal digits."""
    for made, prefix in ((solve_id(), "slv_"), (tenant_id(), "tnt_")):
        assert made.startswith(prefix)
        assert len(made) == 36
