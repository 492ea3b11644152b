import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigate.core.sample import Sample
from aigate.errors import SuiteError
from aigate.goldens.samples import dump_samples, load_samples, row_defects, scan_samples


def write(tmp_path, *rows):
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_all_fields_are_read_as_they_are(tmp_path):
    row = {
        "id": "refund-014",
        "input": "Can I return opened items?",
        "reference": {"days": 30, "share": 1.0},
        "contexts": ["Opened items may be returned."],
        "tags": ["refunds", "safety"],
        "group": "policy-7",
        "metadata": {"since": "2024-11-20", "n": 12345678901234567890},
    }
    (sample,) = load_samples(write(tmp_path, row))
    assert sample == Sample(
        "refund-014",
        "Can I return opened items?",
        {"days": 30, "share": 1.0},
        ("Opened items may be returned.",),
        ("refunds", "safety"),
        "policy-7",
        {"since": "2024-11-20", "n": 12345678901234567890},
    )
    assert isinstance(sample.reference["share"], float)
    assert isinstance(sample.metadata["since"], str)


def test_chat_input_is_read_as_messages(tmp_path):
    chat = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "3", "tool_call_id": "1"},
    ]
    (sample,) = load_samples(write(tmp_path, {"id": "a", "input": chat}))
    assert sample.input == tuple(chat)


def test_null_reference_and_group_mean_none(tmp_path):
    (sample,) = load_samples(write(tmp_path, {"id": "a", "input": "x", "reference": None, "group": None}))
    assert sample == Sample("a", "x")


def test_all_problems_are_reported_first_one_first(tmp_path):
    path = write(tmp_path, {"id": "a"}, "broken", {"id": "a", "input": "x", "tag": []})
    with pytest.raises(SuiteError) as raised:
        load_samples(path)
    lines = raised.value.message.split("\n")
    assert lines[0] == f"{path}:1: missing field 'input'"
    assert lines[1] == "and 3 more problems:"
    assert lines[2].startswith(f"{path}:2: invalid JSON")
    assert lines[3:] == [f"{path}:3: unknown field 'tag'", f"{path}:3: duplicate id 'a' (first on line 1)"]


def test_no_more_than_twenty_problems_are_shown(tmp_path):
    path = write(tmp_path, *[{"id": f"s{number}"} for number in range(30)])
    with pytest.raises(SuiteError) as raised:
        load_samples(path)
    lines = raised.value.message.split("\n")
    assert sum(line.startswith(str(path)) for line in lines) == 20
    assert "and 29 more problems:" in lines
    assert lines[-1] == "(10 not shown)"


def test_scan_gives_sound_samples_beside_defects(tmp_path):
    samples, defects = scan_samples(write(tmp_path, {"id": "a", "input": "x"}, {"id": "b"}, {"id": "c", "input": "y"}))
    assert [sample.id for sample in samples] == ["a", "c"]
    assert [defect.line for defect in defects] == [2]


def test_dump_writes_canonical_order_and_leaves_defaults_out(tmp_path):
    path = tmp_path / "out.jsonl"
    dump_samples([Sample("a", "x", metadata={"z": 1, "b": 2}, tags=("t",), reference="é\u2028")], path)
    expected = '{"id":"a","input":"x","reference":"é\u2028","tags":["t"],"metadata":{"z":1,"b":2}}\n'
    assert path.read_bytes() == expected.encode()


def test_dump_leaves_no_draft_behind_and_replaces_the_old_file(tmp_path):
    path = tmp_path / "out.jsonl"
    dump_samples([Sample("a", "x")], path)
    dump_samples([Sample("b", "y")], path)
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]
    assert [sample.id for sample in load_samples(path)] == ["b"]


def test_dump_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "out.jsonl"
    dump_samples([Sample("a", "x")], path)
    with pytest.raises(SuiteError, match=r"sample 'b' is not JSON: \$\.reference: nan"):
        dump_samples([Sample("b", "y", reference=float("nan"))], path)
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]
    assert [sample.id for sample in load_samples(path)] == ["a"]


def test_dump_that_cannot_be_written_leaves_no_draft_behind(tmp_path):
    (tmp_path / "out.jsonl").mkdir()
    with pytest.raises(SuiteError, match="cannot be written"):
        dump_samples([Sample("a", "x")], tmp_path / "out.jsonl")
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]


def test_dump_to_gz_gives_the_same_bytes_each_time(tmp_path):
    first, second = tmp_path / "first.jsonl.gz", tmp_path / "second.jsonl.gz"
    dump_samples([Sample("a", "x")], first)
    dump_samples([Sample("a", "x")], second)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == bytes(4)  # gzip's time stamp
    assert json.loads(gzip.decompress(first.read_bytes())) == {"id": "a", "input": "x"}
    assert load_samples(first) == (Sample("a", "x"),)


@pytest.mark.parametrize(
    ("samples", "fragment"),
    [
        ([], "no samples to write"),
        ([Sample("a", "x"), Sample("a", "y")], ":2: duplicate id 'a' (first on line 1)"),
        ([Sample("a", " ")], "input: empty"),
    ],
)
def test_dump_refuses_what_load_would_refuse(tmp_path, samples, fragment):
    with pytest.raises(SuiteError) as raised:
        dump_samples(samples, tmp_path / "out.jsonl")
    assert fragment in raised.value.message
    assert list(tmp_path.iterdir()) == []


TEXTS = st.text(min_size=1).filter(str.strip)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["2024-11-20", "\u2028", "👩‍🚀", "NaN", "1", "\x85\r\n"])
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
MESSAGES = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["system", "developer", "user", "assistant", "tool"]),
    TEXTS | st.lists(PARTS, min_size=1, max_size=2),
)
SAMPLES = st.builds(
    Sample,
    id=TEXTS,
    input=TEXTS | st.lists(MESSAGES, min_size=1, max_size=3).map(tuple),
    reference=VALUES,
    contexts=st.lists(TEXTS, max_size=3).map(tuple),
    tags=st.lists(TEXTS, max_size=3, unique=True).map(tuple),
    group=st.none() | TEXTS,
    metadata=st.dictionaries(st.text(), VALUES, max_size=3),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(st.lists(SAMPLES, min_size=1, max_size=4, unique_by=lambda sample: sample.id))
def test_dumped_samples_load_as_the_same(tmp_path, samples):
    path = tmp_path / "round.jsonl"
    dump_samples(samples, path)
    loaded = load_samples(path)
    assert list(loaded) == samples
    # 1 == 1.0 in Python, and True == 1: digests tell them apart.
    assert [sample.digest for sample in loaded] == [sample.digest for sample in samples]


def test_half_a_surrogate_pair_survives(tmp_path):
    sample = Sample("a", "broken \ud83d text")
    dump_samples([sample], tmp_path / "round.jsonl")
    assert load_samples(tmp_path / "round.jsonl") == (sample,)


def test_sound_row_has_no_defects():
    assert row_defects({"id": "a", "input": "x", "contexts": [], "tags": [], "metadata": {}}) == []
