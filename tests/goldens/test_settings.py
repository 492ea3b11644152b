from pathlib import Path

import pytest

from aigate.core.version import VersionId
from aigate.errors import ConfigError
from aigate.goldens.config import SuiteConfig, load_config
from aigate.goldens.settings import SETTING_KEYS, Setting, find_pyproject, resolve_settings

SUITE = SuiteConfig(Path("goldens/faq/suite.toml"))


def resolved(flags=None, environ=None, suite=None, pyproject=None):
    return resolve_settings(flags=flags or {}, environ=environ or {}, suite=suite, pyproject=pyproject)


def pyproject_of(tmp_path, table):
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[project]\nname = 'x'\n[tool.aigate]\n{table}\n")
    return path


def test_defaults_fill_what_nothing_sets():
    found = resolved()
    assert tuple(found) == SETTING_KEYS
    assert {setting.origin for setting in found.values()} == {"default"}
    assert {key: setting.value for key, setting in found.items() if setting.value is not None} == {
        "provider": "openai",
        "baseline": "main",
        "anchor": "anchor",
        "repeats": 1,
        "early-stop": True,
        "concurrency": 8,
        "timeout-s": 60.0,
        "retries": 4,
        "sample-deadline-s": 600.0,
        "journal": ".aigate/journal.sqlite",
        "journal-days": 1.0,
        "api-key-env": "OPENAI_API_KEY",
        "out-dir": ".aigate/runs",
        "judge-provider": "openai",
        "judge-repeats": 1,
        "judge-concurrency": 8,
        "engine": "local",
    }


def test_first_place_that_sets_a_key_wins(tmp_path):
    pyproject = pyproject_of(tmp_path, "repeats = 5")
    suite = SuiteConfig(Path("goldens/faq/suite.toml"), repeats=4)
    environ = {"AIGATE_REPEATS": "3", "HOME": "x"}
    origin = f"{pyproject} [tool.aigate]"
    assert resolved({"repeats": 2}, environ, suite, pyproject)["repeats"] == Setting(2, "flag --repeats")
    assert resolved({"repeats": None}, environ, suite, pyproject)["repeats"] == Setting(3, "AIGATE_REPEATS")
    assert resolved({}, {}, suite, pyproject)["repeats"] == Setting(4, "goldens/faq/suite.toml")
    assert resolved({}, {}, SUITE, pyproject)["repeats"] == Setting(5, origin)
    assert resolved({}, {}, SUITE, None)["repeats"] == Setting(1, "default")


def test_environment_is_parsed_to_the_type_of_the_key():
    environ = {
        "AIGATE_TIMEOUT_S": "2.5",
        "AIGATE_VERSION": "m/1/v1",
        "AIGATE_THRESHOLD": "1",
        "AIGATE_BASE_URL": "x",
        "AIGATE_RETRIES": "0",
    }
    found = resolved(environ=environ)
    assert found["timeout-s"].value == 2.5
    assert found["version"].value == VersionId("m", "1", "v1")
    assert (found["threshold"].value, type(found["threshold"].value)) == (1.0, float)
    assert found["base-url"].value == "x"
    assert found["retries"].value == 0


def test_flags_are_taken_with_dash_or_underscore_as_text_or_value():
    assert resolved({"timeout_s": "5"})["timeout-s"] == Setting(5.0, "flag --timeout-s")
    assert resolved({"timeout-s": 5})["timeout-s"] == Setting(5.0, "flag --timeout-s")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("AIGATE_REPEATS", "two", "AIGATE_REPEATS: repeats: got 'two', expected a whole number in [1, 10000]"),
        ("AIGATE_REPEATS", "0", "AIGATE_REPEATS: repeats: got 0, expected a whole number in [1, 10000]"),
        ("AIGATE_REPEATS", "1.0", "AIGATE_REPEATS: repeats: got '1.0', expected a whole number in [1, 10000]"),
        ("AIGATE_MAX_REPEATS", "0", "AIGATE_MAX_REPEATS: max-repeats: got 0, expected a whole number in [1, 10000]"),
        (
            "AIGATE_MAX_REPEATS",
            "1000000",
            "AIGATE_MAX_REPEATS: max-repeats: got 1000000, expected a whole number in [1, ",
        ),
        ("AIGATE_REPEATS", "10001", "AIGATE_REPEATS: repeats: got 10001, expected a whole number in [1, 10000]"),
        ("AIGATE_EARLY_STOP", "0", "AIGATE_EARLY_STOP: early-stop: got '0', expected true or false"),
        ("AIGATE_EARLY_STOP", "False", "AIGATE_EARLY_STOP: early-stop: got 'False', expected true or false"),
        ("AIGATE_EARLY_STOP", "", "AIGATE_EARLY_STOP: early-stop: got '', expected true or false"),
        ("AIGATE_ANCHOR", "", "AIGATE_ANCHOR: anchor: got '', expected a string that is not empty"),
        ("AIGATE_TIMEOUT_S", "nan", "AIGATE_TIMEOUT_S: timeout-s: got nan, expected a number of seconds above 0"),
        ("AIGATE_TIMEOUT_S", "inf", "AIGATE_TIMEOUT_S: timeout-s: got inf, expected a number of seconds above 0"),
        ("AIGATE_THRESHOLD", "85", "AIGATE_THRESHOLD: threshold: got 85.0, expected a number in [0, 1]"),
        ("AIGATE_THRESHOLD", "nan", "AIGATE_THRESHOLD: threshold: got nan, expected a number in [0, 1]"),
        ("AIGATE_THRESHOLD", "", "AIGATE_THRESHOLD: threshold: got '', expected a number in [0, 1]"),
        ("AIGATE_SUITE", "", "AIGATE_SUITE: suite: got '', expected a string that is not empty"),
        ("AIGATE_VERSION", "m/v1", "AIGATE_VERSION: version: 'm/v1' is no version: it has 2 of 3 parts"),
        ("AIGATE_BASELINE", "", "AIGATE_BASELINE: baseline: got '', expected a string that is not empty"),
    ],
)
def test_wrong_variable_is_named_with_got_and_expected(name, text, message):
    with pytest.raises(ConfigError) as raised:
        resolved(environ={name: text})
    assert raised.value.message.startswith(message)


def test_unknown_variable_names_the_nearest_one():
    with pytest.raises(ConfigError) as raised:
        resolved(environ={"AIGATE_TRESHOLD": "0.9"})
    assert str(raised.value) == (
        "unknown environment variable AIGATE_TRESHOLD\n  next: did you mean 'AIGATE_THRESHOLD'?"
    )


def test_early_stop_is_set_in_every_place(tmp_path):
    pyproject = pyproject_of(tmp_path, "early-stop = false")
    suite = SuiteConfig(Path("goldens/faq/suite.toml"), early_stop=True)
    assert resolved(pyproject=pyproject)["early-stop"] == Setting(False, f"{pyproject} [tool.aigate]")
    assert resolved(suite=suite, pyproject=pyproject)["early-stop"] == Setting(True, "goldens/faq/suite.toml")
    environ = {"AIGATE_EARLY_STOP": "false"}
    assert resolved(suite=suite, environ=environ)["early-stop"] == Setting(False, "AIGATE_EARLY_STOP")
    assert resolved({"early_stop": True}, environ)["early-stop"] == Setting(True, "flag --early-stop")
    off = SuiteConfig(Path("goldens/faq/suite.toml"), early_stop=False)
    assert resolved(suite=off)["early-stop"] == Setting(False, "goldens/faq/suite.toml")


def test_anchor_of_the_suite_is_taken_and_one_of_a_flag_may_be_a_run_file():
    suite = SuiteConfig(Path("goldens/faq/suite.toml"), anchor="release-1.0", max_repeats=5)
    assert resolved(suite=suite)["anchor"] == Setting("release-1.0", "goldens/faq/suite.toml")
    assert resolved(suite=suite)["max-repeats"].value == 5
    assert resolved({"anchor": "runs/old.jsonl"}, suite=suite)["anchor"].value == "runs/old.jsonl"


def test_wrong_value_is_an_error_even_where_another_place_wins():
    with pytest.raises(ConfigError, match="AIGATE_REPEATS"):
        resolved({"repeats": 2}, {"AIGATE_REPEATS": "two"})


@pytest.mark.parametrize("value", [1.01, -0.01, "85%", True, float("nan")])
def test_threshold_outside_zero_to_one_names_the_flag(value):
    with pytest.raises(ConfigError, match=r"^flag --threshold: threshold: got .*, expected a number in \[0, 1\]"):
        resolved({"threshold": value})


@pytest.mark.parametrize("value", [0, 1, 0.85, "0.85"])
def test_threshold_from_zero_to_one_is_taken(value):
    assert resolved({"threshold": value})["threshold"].value == float(value)


def test_threshold_of_pyproject_is_checked(tmp_path):
    with pytest.raises(ConfigError, match=r"pyproject.toml \[tool.aigate\]: threshold: got 85"):
        resolved(pyproject=pyproject_of(tmp_path, "threshold = 85"))


def test_text_for_a_number_in_pyproject_is_a_wrong_type(tmp_path):
    with pytest.raises(ConfigError, match="repeats: got '3', expected a whole number"):
        resolved(pyproject=pyproject_of(tmp_path, 'repeats = "3"'))


def test_unknown_key_in_pyproject_names_the_nearest_one(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown key 'suit'") as raised:
        resolved(pyproject=pyproject_of(tmp_path, 'suit = "x"'))
    assert raised.value.hint == "did you mean 'suite'?"


def test_unknown_flag_is_refused():
    with pytest.raises(ConfigError, match="unknown flag '--treshold'"):
        resolved({"treshold": 0.9})


def test_pyproject_without_our_table_sets_nothing(tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text("[project]\nname = 'x'\n")
    assert resolved(pyproject=path) == resolved()


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\naigate = 3"])
def test_pyproject_with_no_table_there_is_an_error_or_nothing(tmp_path, text):
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    if text == "tool = 3":
        assert resolved(pyproject=path) == resolved()
        return
    with pytest.raises(ConfigError, match="is not a table"):
        resolved(pyproject=path)


def test_paths_of_a_file_are_relative_to_it(tmp_path):
    found = resolved(pyproject=pyproject_of(tmp_path, 'suite = "goldens/faq"\nout-dir = "runs"\nbaseline = "x"'))
    assert found["suite"].value == str(tmp_path / "goldens/faq")
    assert found["out-dir"].value == str(tmp_path / "runs")
    assert found["baseline"].value == "x"
    assert resolved({"suite": "goldens/faq"})["suite"].value == "goldens/faq"


def test_provider_options_of_the_suite_stand_where_the_suite_stands():
    suite = SuiteConfig(
        Path("goldens/faq/suite.toml"), provider_options={"recorded": "rec.jsonl", "api-key-env": "MY_KEY", "mode": "x"}
    )
    found = resolved(suite=suite)
    assert found["recorded"] == Setting("goldens/faq/rec.jsonl", "goldens/faq/suite.toml")
    assert found["api-key-env"].value == "MY_KEY"
    assert resolved({"recorded": "mine.jsonl"}, suite=suite)["recorded"].value == "mine.jsonl"


def test_baseline_of_a_flag_may_be_a_run_file():
    assert resolved({"baseline": "../runs/main.jsonl"})["baseline"].value == "../runs/main.jsonl"


def test_server_without_keys_has_an_empty_key_variable():
    suite = SuiteConfig(Path("goldens/faq/suite.toml"), provider_options={"api-key-env": ""})
    assert resolved(suite=suite)["api-key-env"] == Setting("", "goldens/faq/suite.toml")


def test_nearest_pyproject_is_found_upwards(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    assert find_pyproject(inner) == tmp_path / "pyproject.toml"
    (tmp_path / "a" / "pyproject.toml").write_text("")
    assert find_pyproject(inner) == tmp_path / "a" / "pyproject.toml"
    assert find_pyproject(inner) != find_pyproject(tmp_path)


def test_pyproject_of_the_start_itself_keeps_its_spelling(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert find_pyproject(Path()) == Path("pyproject.toml")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max-cost", "0", "a number above 0"),
        ("max-cost", "inf", "a number above 0"),
        ("max-calls", "2.5", "a whole number of at least 1"),
        ("max-tokens", "-1", "a whole number of at least 1"),
        ("deadline-s", "soon", "a number of seconds above 0"),
        ("requests-per-minute", "0", "a number above 0"),
        ("journal-days", "nan", "a number above 0"),
    ],
)
def test_limits_that_limit_nothing_are_refused(key, value, expected):
    with pytest.raises(ConfigError, match=f"flag --{key}: {key}: got .*, expected {expected}"):
        resolved({key: value})


def test_journal_may_be_switched_off_and_is_relative_to_the_file_that_names_it(tmp_path):
    assert resolved({"journal": ""})["journal"].value == ""
    found = resolved(pyproject=pyproject_of(tmp_path, 'journal = "kept/j.sqlite"'))
    assert found["journal"].value == str(tmp_path / "kept" / "j.sqlite")


def test_caps_are_no_keys_of_a_suite_where_max_tokens_would_be_read_as_a_request_parameter(tmp_path):
    path = tmp_path / "suite.toml"
    path.write_text("max-tokens = 100\n")
    with pytest.raises(ConfigError, match="unknown key 'max-tokens'"):
        load_config(path)


def test_where_baselines_are_is_a_path_beside_the_file_or_a_url(tmp_path):
    path = pyproject_of(tmp_path, 'baselines = "kept"\nout-dir = "s3://bucket/runs"')
    found = resolved(pyproject=path)
    assert found["baselines"].value == str(tmp_path / "kept")
    assert found["out-dir"].value == "s3://bucket/runs"
    (tmp_path / "suite.toml").write_text('baselines = "s3://bucket/faq"\n')
    assert resolved(suite=load_config(tmp_path / "suite.toml"), pyproject=path)["baselines"].value == "s3://bucket/faq"


@pytest.mark.parametrize(("key", "value"), [("engine", "spark"), ("dask-workers", "0"), ("dask-scheduler", " ")])
def test_an_engine_that_is_none_is_refused(key, value):
    with pytest.raises(ConfigError, match=f"flag --{key}: {key}: got"):
        resolved({key: value})
