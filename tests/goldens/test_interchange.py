import datetime as dt
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigate.core.sample import Sample
from aigate.errors import SuiteError, UsageError
from aigate.goldens.interchange import from_datasets, from_frame, import_samples, to_datasets, to_frame
from aigate.goldens.samples import dump_samples, load_samples

datasets = pytest.importorskip("datasets")
pandas = pytest.importorskip("pandas")

TRAPS = (
    Sample("a", "one", reference="2024-11-20", metadata={"n": 42, "version": "2024-11-20"}),
    Sample("b", "two", reference=1.5, metadata={"n": None, "late": [1, "x", {"k": 1.0}]}),
    Sample("c", ({"role": "user", "content": "three\u2028"},), reference={"days": 30}, contexts=("c1", "c2")),
    Sample("d", "four", reference=42, tags=("t", "u"), group="g", metadata={"": "", "big": 10**30}),
    Sample("e", '{"not": "parsed"}', reference="[1, 2]"),
    Sample("f", "six", reference=[], metadata={"nothing": {}}),
)


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


def digests(samples):
    return [sample.digest for sample in samples]


def test_json_lines_keep_exact_types(tmp_path):
    rows = [
        {"id": "a", "question": "one", "answer": "2024-11-20", "n": 42},
        {"id": "b", "question": "two", "answer": None, "n": None, "late": 1.0},
    ]
    source = write(tmp_path, "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = import_samples(source)
    assert digests(found.samples) == digests(
        [
            Sample("a", "one", "2024-11-20", metadata={"n": 42}),
            Sample("b", "two", metadata={"n": None, "late": 1.0}),
        ]
    )
    assert found.mapping == {"id": "id", "input": "question", "reference": "answer"}
    assert found.ignored_fields == ()


def test_our_own_format_imports_as_itself(tmp_path):
    path = tmp_path / "samples.jsonl"
    dump_samples(TRAPS, path)
    assert digests(import_samples(str(path)).samples) == digests(load_samples(path))


@pytest.mark.parametrize(
    ("row", "mapping"),
    [
        ({"question": "q", "answer": "a"}, {"input": "question", "reference": "answer"}),
        ({"input": "q", "target": "a"}, {"input": "input", "reference": "target"}),
        ({"prompt": "q", "expected": "a"}, {"input": "prompt", "reference": "expected"}),
        ({"query": "q", "expected_output": "a"}, {"input": "query", "reference": "expected_output"}),
        (
            {"user_input": "q", "reference": "a", "retrieved_contexts": ["c"]},
            {"input": "user_input", "reference": "reference", "contexts": "retrieved_contexts"},
        ),
        (
            {"question": "q", "ground_truth": "a", "context": "c", "group": "g"},
            {"input": "question", "reference": "ground_truth", "contexts": "context", "group": "group"},
        ),
    ],
)
def test_well_known_field_names_are_guessed(tmp_path, row, mapping):
    found = import_samples(write(tmp_path, "rows.json", json.dumps([row])))
    assert found.mapping == mapping
    assert found.samples[0].input == "q"
    assert found.samples[0].reference == "a"


def test_named_fields_win_and_empty_names_mean_none(tmp_path):
    row = {"question": "q", "body": "b", "answer": "a", "key": 7, "labels": "x, y", "doc": 3}
    found = import_samples(
        write(tmp_path, "rows.json", json.dumps([row])),
        id_field="key",
        input_field="body",
        reference_field="",
        tags_field="labels",
        group_field="doc",
    )
    assert found.samples == (Sample("7", "b", tags=("x", "y"), group="3", metadata={"question": "q", "answer": "a"}),)


def test_field_that_is_not_there_names_the_nearest_one(tmp_path):
    source = write(tmp_path, "rows.json", '[{"question": "q"}]')
    with pytest.raises(UsageError, match="no field 'questions' for input") as raised:
        import_samples(source, input_field="questions")
    assert raised.value.hint == "did you mean 'question'?"


def test_source_without_an_input_lists_its_fields(tmp_path):
    with pytest.raises(UsageError, match="no field for the input among text, label"):
        import_samples(write(tmp_path, "rows.json", '[{"text": "q", "label": 1}]'))


def test_made_ids_come_from_content_and_not_from_place(tmp_path):
    rows = [{"question": "one", "answer": "a"}, {"question": "two", "answer": "b"}]
    first = import_samples(write(tmp_path, "rows.json", json.dumps(rows))).samples
    turned = import_samples(write(tmp_path, "rows.json", json.dumps(rows[::-1]))).samples
    corrected = import_samples(write(tmp_path, "rows.json", json.dumps([{**rows[0], "answer": "c"}]))).samples
    assert [sample.id for sample in first] == [sample.id for sample in turned[::-1]]
    assert corrected[0].id == first[0].id
    assert first[0].id != first[1].id


def test_rows_with_the_same_id_are_named(tmp_path):
    source = write(
        tmp_path, "rows.jsonl", '{"id": 1, "input": "x"}\n{"id": 2, "input": "x"}\n{"id": "1", "input": "y"}\n'
    )
    with pytest.raises(SuiteError, match=r"rows\.jsonl:3: duplicate id '1' \(first at .*rows\.jsonl:1\)"):
        import_samples(source)


def test_rows_with_the_same_content_and_no_id_are_named(tmp_path):
    source = write(tmp_path, "rows.csv", "question,answer\nx,1\ny,2\nx,3\n")
    with pytest.raises(SuiteError, match=r"rows\.csv:4: the same input and contexts \(first at .*rows\.csv:2\)"):
        import_samples(source)


def test_csv_values_are_never_guessed(tmp_path):
    text = "\ufeffid,question,answer,n,day\r\n007,one,1.0,042,2024-11-20\r\n008,two,,NA,true\r\n"
    found = import_samples(write(tmp_path, "rows.csv", text))
    assert found.samples == (
        Sample("007", "one", "1.0", metadata={"n": "042", "day": "2024-11-20"}),
        Sample("008", "two", None, metadata={"n": "NA", "day": "true"}),
    )


def test_csv_cells_may_hold_lines_and_rows_are_named_by_their_first(tmp_path):
    text = 'id,question,contexts\n1,"a\nb","[""x"", ""y""]"\n\n2,,[see note]\n'
    with pytest.raises(SuiteError, match=r"rows\.csv:5: input: empty"):
        import_samples(write(tmp_path, "rows.csv", text))
    found = import_samples(write(tmp_path, "rows.csv", text.replace("2,,", "2,c,")))
    assert [sample.input for sample in found.samples] == ["a\nb", "c"]
    assert [sample.contexts for sample in found.samples] == [("x", "y"), ("[see note]",)]


def test_context_that_looks_like_json_is_one_text_outside_csv(tmp_path):
    found = import_samples(write(tmp_path, "rows.json", '[{"input": "x", "context": "[\\"a\\"]"}]'))
    assert found.samples[0].contexts == ('["a"]',)


def test_tabs_separate_cells_of_tsv(tmp_path):
    assert import_samples(write(tmp_path, "rows.tsv", "id\tquestion\n1\ta, b\n")).samples == (Sample("1", "a, b"),)


@pytest.mark.parametrize(
    ("name", "text", "fragment"),
    [
        ("rows.csv", "id,question\n1\n", "rows.csv:2: got 1 cell, expected 2"),
        ("rows.csv", "id,question\n1,a,b\n", "rows.csv:2: got 3 cells, expected 2"),
        ("rows.csv", "id,id\n1,2\n", "rows.csv:1: column 2: got 'id'"),
        ("rows.csv", "id,\n1,2\n", "rows.csv:1: column 2: got ''"),
        ("rows.csv", 'id,question\n1,"open', "invalid CSV"),
        ("rows.csv", "", "no rows"),
        ("rows.json", "{}", "got an object, expected an array of objects"),
        ("rows.json", "[1]", "row 0: got a number, expected an object"),
        ("rows.json", '[{"input": "x",}]', "rows.json:1: invalid JSON"),
        ("rows.jsonl", '{"input": "x"}\n{"input": NaN}\n', "rows.jsonl:2: NaN is not a JSON number"),
        ("rows.json", '[{"input": 3}]', "row 0: input: got a number, expected a string"),
        ("rows.json", '[{"input": "x", "contexts": {"a": 1}}]', "row 0: contexts: got an object"),
        (
            "rows.json",
            '[{"input": "x", "a": 1, "metadata": {"a": 2}}]',
            "'a' is a field of the row and of its metadata",
        ),
        ("rows.parquet", "no parquet", "cannot be read as Parquet"),
    ],
)
def test_broken_source_is_an_error_with_its_place(tmp_path, name, text, fragment):
    with pytest.raises(SuiteError) as raised:
        import_samples(write(tmp_path, name, text))
    assert fragment in raised.value.message


def test_file_that_is_missing_or_of_another_kind(tmp_path):
    with pytest.raises(SuiteError, match="no such file"):
        import_samples(str(tmp_path / "rows.jsonl"))
    with pytest.raises(UsageError, match=r"got a '\.xlsx' file, expected one of \.jsonl"):
        import_samples(write(tmp_path, "rows.xlsx", "x"))


@pytest.mark.parametrize("option", ["split", "revision"])
def test_split_and_revision_do_not_fit_a_file(tmp_path, option):
    with pytest.raises(UsageError, match=option):
        import_samples(write(tmp_path, "rows.json", '[{"input": "x"}]'), **{option: "main"})


def test_limit_reads_the_first_rows_only(tmp_path):
    source = write(tmp_path, "rows.jsonl", '{"id": "a", "input": "x"}\n{"id": "b", "input": "y"}\nbroken\n')
    assert [sample.id for sample in import_samples(source, limit=2).samples] == ["a", "b"]
    with pytest.raises(UsageError, match="limit: got 0"):
        import_samples(source, limit=0)


def parquet_rows():
    day = dt.datetime(2024, 11, 20, 8, 30, tzinfo=dt.UTC)
    return {
        "question": ["one", "two"],
        "answer": ["2024-11-20", None],
        "n": [42, None],
        "share": [0.5, float("nan")],
        "at": [day, None],
        "contexts": [["a", "b"], []],
        "image": [b"\x89PNG", None],
    }


def test_parquet_is_read_without_retyping(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table(parquet_rows()), path)
    found = import_samples(str(path))
    first, second = found.samples
    assert first.reference == "2024-11-20"
    assert first.contexts == ("a", "b")
    assert repr(first.metadata) == repr({"n": 42, "share": 0.5, "at": "2024-11-20T08:30:00+00:00"})
    assert second.metadata == {"n": None, "share": None, "at": None, "image": None}
    assert found.ignored_fields == ("image",)


def test_infinity_in_parquet_is_an_error(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"input": ["x"], "score": [float("inf")]}), path)
    with pytest.raises(SuiteError, match="row 0: score: got inf, expected a finite number"):
        import_samples(str(path))


def test_saved_dataset_is_read_from_its_folder(tmp_path):
    rows = [{"question": "one", "answer": "2024-11-20", "n": 1}, {"question": "two", "answer": "x", "n": None}]
    whole = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(rows), "test": datasets.Dataset.from_list(rows[:1])}
    )
    whole.save_to_disk(str(tmp_path / "saved"))
    found = import_samples(str(tmp_path / "saved"), split="train")
    assert [sample.reference for sample in found.samples] == ["2024-11-20", "x"]
    assert [sample.metadata for sample in found.samples] == [{"n": 1}, {"n": None}]
    assert len(import_samples(str(tmp_path / "saved"), split="test").samples) == 1
    with pytest.raises(UsageError, match="has the splits train, test"):
        import_samples(str(tmp_path / "saved"))
    with pytest.raises(UsageError, match="has no split 'tests'") as raised:
        import_samples(str(tmp_path / "saved"), split="tests")
    assert raised.value.hint == "did you mean 'test'?"


def test_folder_of_parquet_files_is_loaded_afresh_each_time(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for answer in ("first", "other"):
        datasets.Dataset.from_list([{"question": "one", "answer": answer}]).to_parquet(str(folder / "train.parquet"))
        os.utime(folder / "train.parquet", (1_700_000_000, 1_700_000_000))
        assert [sample.reference for sample in import_samples(str(folder)).samples] == [answer]


def test_folder_of_text_files_is_refused_since_its_values_would_be_retyped(tmp_path):
    write(tmp_path, "rows.jsonl", '{"input": "x"}\n')
    with pytest.raises(UsageError, match="would retype") as raised:
        import_samples(str(tmp_path))
    assert "rows.jsonl" in raised.value.hint


def test_hub_that_cannot_be_reached_names_the_dataset_and_leaves_the_environment_alone(tmp_path):
    code = (
        "import os\n"
        "from aigate.errors import UsageError\n"
        "from aigate.goldens.interchange import import_samples\n"
        "before = dict(os.environ)\n"
        "try:\n"
        "    import_samples('nobody/nothing', split='test')\n"
        "except UsageError as found:\n"
        "    print(found)\n"
        "print(dict(os.environ) == before)\n"
    )
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True)
    first, hint, same = done.stdout.splitlines()
    assert first.startswith("dataset 'nobody/nothing': the hub cannot be reached:")
    assert "HF_HUB_OFFLINE" in hint
    assert same == "True"


def test_datasets_round_trip_keeps_every_trap():
    dataset = to_datasets(TRAPS)
    assert dataset.num_rows == len(TRAPS)
    assert digests(from_datasets(dataset)) == digests(TRAPS)


def test_datasets_round_trip_through_parquet(tmp_path):
    to_datasets(TRAPS).to_parquet(str(tmp_path / "out.parquet"))
    again = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path / "cache"))
    assert digests(from_datasets(again)) == digests(TRAPS)


def test_frame_round_trip_keeps_every_trap():
    frame = to_frame(TRAPS)
    assert list(frame.columns) == ["id", "input", "reference", "contexts", "tags", "group", "metadata"]
    assert set(map(str, frame.dtypes)) == {"object"}
    assert digests(from_frame(frame)) == digests(TRAPS)


def test_frame_filtered_and_joined_is_read_again():
    frame = to_frame(TRAPS)
    joined = pandas.concat([frame[frame.id == "a"], frame[frame.id == "d"]])
    joined["group"] = joined["group"].where(joined["group"].notna(), float("nan"))
    assert digests(from_frame(joined)) == digests([TRAPS[0], TRAPS[3]])


def test_empty_export_has_all_columns():
    assert from_datasets(to_datasets([])) == ()
    assert from_frame(to_frame([])) == ()


def test_other_columns_are_refused():
    with pytest.raises(UsageError, match="got the columns a, expected id"):
        from_datasets(datasets.Dataset.from_list([{"a": 1}]))
    with pytest.raises(UsageError, match="got the columns a, expected id"):
        from_frame(pandas.DataFrame({"a": [1]}))


def test_row_that_is_no_sample_any_more_is_named():
    frame = to_frame(TRAPS)
    frame.loc[2, "id"] = 5
    with pytest.raises(SuiteError, match="row 2: id: got a number, expected a string"):
        from_frame(frame)


def test_text_that_arrow_cannot_hold_is_an_error():
    with pytest.raises(SuiteError, match="no valid Unicode"):
        to_datasets([Sample("a", "half \ud83d")])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé\u2028"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=5,
)
SAMPLES = st.builds(
    Sample,
    id=st.text("abc", min_size=1),
    input=st.text("xyz\u2028👩", min_size=1).filter(str.strip),
    reference=VALUES,
    contexts=st.lists(st.text("cd", min_size=1), max_size=2).map(tuple),
    group=st.none() | st.just("g"),
    metadata=st.dictionaries(st.text("ab"), VALUES, max_size=2),
)


@settings(deadline=None, max_examples=30)
@given(st.lists(SAMPLES, max_size=4))
def test_exports_give_equal_samples_back(samples):
    assert digests(from_datasets(to_datasets(samples))) == digests(samples)
    assert digests(from_frame(to_frame(samples))) == digests(samples)
