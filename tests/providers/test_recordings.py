import gzip
import json
from pathlib import Path

import pytest

from app.providers.recordings import BadRecordings, Recordings, Sample

SAMPLE = '{"text": "t", "input_tokens": 1, "output_tokens": 2}'
LINE = f'{{"problem": "p", "model": "m", "samples": [{SAMPLE}]}}'


def test_lookup_ignores_white_space_and_nothing_else(tmp_path: Path) -> None:
    """A problem is found however it was wrapped or indented; its words have to be the same."""
    path = tmp_path / "r.jsonl"
    path.write_text(LINE.replace('"p"', '"make  24\\n of it"'), encoding="utf-8")
    recordings = Recordings.load(path)
    assert recordings.samples(" make 24 of\tit ", "m") == (Sample("t", 1, 2),)
    assert recordings.samples("Make 24 of it", "m") == ()
    assert recordings.models("make 24 of it") == ("m",)
    assert recordings.problems == ("make 24 of it",)


@pytest.mark.parametrize(("written", "read"), [("0.25", 0.25), ("1", 1.0), ("null", None)])
def test_score_of_a_sample_is_read_where_there_is_one(written: str, read: float | None) -> None:
    """Without one it is None, and not zero."""
    row = json.loads(LINE.replace("2}", f'2, "score": {written}}}'))
    assert Recordings([row]).samples("p", "m") == (Sample("t", 1, 2, read),)


def test_plain_and_gzipped_files_read_the_same(tmp_path: Path) -> None:
    """The name's ending decides; a line separator inside a text does not end the line."""
    text = LINE.replace('"t"', '"a\u2028b"') + "\n"
    plain, packed = tmp_path / "r.jsonl", tmp_path / "r.jsonl.gz"
    plain.write_text(text, encoding="utf-8")
    packed.write_bytes(gzip.compress(text.encode()))
    expected = (Sample("a\u2028b", 1, 2),)
    assert Recordings.load(plain).samples("p", "m") == expected
    assert Recordings.load(packed).samples("p", "m") == expected


BAD_LINES = [
    pytest.param("{", "expected one JSON object a line", id="not JSON"),
    pytest.param("", "expected one JSON object a line", id="blank"),
    pytest.param("[]", "row: Input should be a dictionary", id="not an object"),
    pytest.param('{"problem": "p", "samples": []}', "model: Field required", id="no model"),
    pytest.param(LINE.replace('"p"', '" "'), "problem: String should match", id="empty problem"),
    pytest.param(LINE.replace('"m"', "3"), "model: Input should be a valid string", id="number"),
    pytest.param(
        '{"problem": "p", "model": "m", "samples": []}', "samples: Tuple should", id="no samples"
    ),
    pytest.param(
        LINE.replace("1,", "-1,"), "samples.0.input_tokens: Input should be greater", id="negative"
    ),
    pytest.param(
        LINE.replace("2}", "2.0}"), "samples.0.output_tokens: Input should be", id="not whole"
    ),
    pytest.param(
        LINE.replace("2}", '2, "score": 1.1}'), "samples.0.score: Input should", id="too high"
    ),
    pytest.param(
        LINE.replace("2}", '2, "score": NaN}'), "samples.0.score: Input should", id="no score"
    ),
    pytest.param(
        LINE.replace("2}", '2, "score": true}'), "samples.0.score: Input should", id="a verdict"
    ),
    pytest.param(LINE.replace('"p"', '" first"'), "expected one row a problem", id="said twice"),
]


@pytest.mark.parametrize(("line", "detail"), BAD_LINES)
def test_bad_line_is_named_with_what_was_expected(line: str, detail: str, tmp_path: Path) -> None:
    """The message leads to the file, the line and the field."""
    path = tmp_path / "r.jsonl"
    first = LINE.replace('"p"', '"first"')
    path.write_text(f"{first}\n{line}\n", encoding="utf-8")
    with pytest.raises(BadRecordings) as caught:
        Recordings.load(path)
    assert caught.value.line == 2
    assert str(caught.value).startswith(f"{path}, line 2: {detail}")


BAD_FILES = [
    pytest.param("r.jsonl", b"", "expected at least one row", id="empty"),
    pytest.param("r.jsonl", b"\xff\n", "expected UTF-8", id="not text"),
    pytest.param("r.jsonl.gz", LINE.encode(), "expected gzip", id="not packed"),
    pytest.param("r.jsonl.gz", gzip.compress(LINE.encode())[:-9], "expected gzip", id="cut short"),
    pytest.param(
        "r.jsonl.gz", gzip.compress(b"")[:10] + b"\xff" * 9, "expected gzip", id="damaged"
    ),
]


@pytest.mark.parametrize(("name", "content", "detail"), BAD_FILES)
def test_bad_file_is_named_with_what_was_expected(
    name: str, content: bytes, detail: str, tmp_path: Path
) -> None:
    """A fault that has no line still names the file."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadRecordings) as caught:
        Recordings.load(path)
    assert caught.value.line is None
    assert str(caught.value).startswith(f"{path}: {detail}")
