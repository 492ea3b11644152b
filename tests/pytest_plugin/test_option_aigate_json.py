"""`--aigate-json`: every verdict of a session in one file."""

import json

import pytest

from aigate.core.verdict import Verdict


def document(suites, name="out/verdicts.json"):
    return json.loads((suites.root / name).read_text())


def test_it_holds_the_verdicts_of_suites_and_of_tests(suites):
    suites.write(good=40)
    suites.test()
    result = suites.run("test_bot.py", "--aigate-json", "out/verdicts.json", collect=True)
    assert result.ret == 1
    whole = document(suites)
    assert whole["format"] == "aigate.pytest/1"
    assert [found["test"] for found in whole["verdicts"]] == ["goldens/faq/suite.toml", "test_bot.py::test_bot"]
    for found in whole["verdicts"]:
        assert found["suite"] == "goldens/faq"
        assert (suites.root / found["run"]).is_file()
        assert Verdict.from_dict(found["verdict"]).status == "fail"


def test_orphans_and_promotions_stand_in_it(suites):
    suites.write()
    suites.promote(baseline="old")
    suites.run("--aigate-json", "out/verdicts.json", "--aigate-update-baseline", collect=True)
    whole = document(suites)
    assert [orphan["baseline"] for orphan in whole["orphans"]] == ["goldens/faq/baselines/old.jsonl"]
    assert [found["promotion"] for found in whole["verdicts"]] == ["main: m/1/v1"]


def test_a_session_without_verdicts_writes_an_empty_one_and_says_so(suites):
    (suites.root / "test_other.py").write_text("def test_other():\n    pass\n")
    result = suites.run("--aigate-json", "out/verdicts.json")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["no suite was evaluated"])
    assert document(suites) == {"format": "aigate.pytest/1", "verdicts": [], "orphans": []}


def test_the_same_session_gives_the_same_verdicts(suites):
    suites.write()
    suites.run("--aigate-json", "a.json", collect=True)
    suites.run("--aigate-json", "b.json", collect=True)
    first, second = document(suites, "a.json"), document(suites, "b.json")
    for whole in (first, second):
        for found in whole["verdicts"]:
            found["verdict"]["bound"].pop("candidate")
            found["verdict"].pop("valid_until")
    assert first == second


def test_a_file_that_cannot_be_written_is_no_silent_pass(suites):
    suites.write()
    (suites.root / "out").write_text("a file, no folder")
    result = suites.run("--aigate-json", "out/verdicts.json", collect=True)
    assert result.ret != 0


def test_a_folder_is_refused_before_anything_is_asked(suites):
    suites.write()
    result = suites.run("--aigate-json", "goldens", collect=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --aigate-json goldens: is a folder; next: name a file in it"])
