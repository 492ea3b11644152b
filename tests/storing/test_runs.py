"""Reading stored runs."""

import pytest

from aigate.errors import RunFileError
from aigate.storing.runs import load_run


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(RunFileError, match="no such run file") as caught:
        load_run(tmp_path / "run.jsonl")
    assert "aigate eval" in caught.value.hint


def test_a_folder_is_no_run_file(tmp_path):
    with pytest.raises(RunFileError, match="a folder, expected a run file"):
        load_run(str(tmp_path))


def test_an_empty_file_is_no_run_file(tmp_path):
    (tmp_path / "run.jsonl").touch()
    with pytest.raises(RunFileError, match="empty"):
        load_run(tmp_path / "run.jsonl")
