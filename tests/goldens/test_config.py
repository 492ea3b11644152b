import json

import pytest

from aigate.core.version import VersionId
from aigate.errors import ConfigError
from aigate.goldens.config import (
    DEFAULTS,
    JUDGE_DEFAULTS,
    JUDGE_RULES,
    ScorerEntry,
    SuiteConfig,
    judge_table,
    load_config,
)


def config_of(tmp_path, text, **options):
    path = tmp_path / "suite.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, **options)


def test_every_key_is_read(tmp_path):
    text = """
version = "meta-llama/Llama-3-8B/2024-07/v3"
provider = "openai"
scorers = ["exact_match", "recorded:correct", {scorer = "grounding", threshold = 0.5}]
primary-metric = "exact_match"
repeats = 3
max-repeats = 5
early-stop = false
baseline = "release-1.2"
anchor = "release-1.0"
served-models = ["a", "b"]
concurrency = 1024
timeout-s = 30
retries = 0

[provider-options]
base-url = "x"

[parameters]
temperature = 0
logit_bias = {a = 1}

[policy]
alpha = 0.05
checks = [{ check = "same-shape" }]
"""
    assert config_of(tmp_path, text) == SuiteConfig(
        source=tmp_path / "suite.toml",
        version=VersionId("meta-llama/Llama-3-8B", "2024-07", "v3"),
        provider="openai",
        provider_options={"base-url": "x"},
        scorers=(
            ScorerEntry("exact_match"),
            ScorerEntry("recorded", "correct"),
            ScorerEntry("grounding", options={"threshold": 0.5}),
        ),
        primary_metric="exact_match",
        repeats=3,
        max_repeats=5,
        early_stop=False,
        baseline="release-1.2",
        anchor="release-1.0",
        parameters={"temperature": 0, "logit_bias": {"a": 1}},
        served_models=("a", "b"),
        concurrency=1024,
        timeout_s=30.0,
        retries=0,
        policy={"alpha": 0.05, "checks": [{"check": "same-shape"}]},
    )


def test_timeout_is_a_float(tmp_path):
    assert isinstance(config_of(tmp_path, "timeout-s = 30").timeout_s, float)


def test_empty_file_sets_nothing(tmp_path):
    config = config_of(tmp_path, "")
    assert config == SuiteConfig(tmp_path / "suite.toml")
    assert config.policy is None
    assert config.scorers is None


def test_defaults_name_fields_of_the_configuration():
    assert set(DEFAULTS) <= set(SuiteConfig.__dataclass_fields__)
    assert DEFAULTS["scorers"] == (ScorerEntry("exact_match"),)


def test_scorer_argument_may_hold_colons(tmp_path):
    (entry,) = config_of(tmp_path, 'scorers = ["recorded:a:b"]').scorers
    assert (entry.name, entry.argument, str(entry)) == ("recorded", "a:b", "recorded:a:b")


def test_same_scorer_with_other_argument_is_another_one(tmp_path):
    assert len(config_of(tmp_path, 'scorers = ["recorded:a", "recorded:b", "recorded"]').scorers) == 3


FILES = {
    "app.toml": '[model]\nversion = "m/1/v1"\n',
    "app.json": json.dumps({"model": {"version": "m/1/v1"}}),
    "app.yaml": "model:\n  version: m/1/v1\n",
    "app.yml": "model: {version: m/1/v1}\n",
}


@pytest.mark.parametrize("name", FILES)
def test_version_of_the_application_is_read_from_its_file(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    config = config_of(tmp_path, f'version = {{file = "{name}", key = "model.version"}}')
    assert config.version == VersionId("m", "1", "v1")


def test_version_file_beside_the_suite_wins_over_the_root(tmp_path):
    suite, root = tmp_path / "suite", tmp_path / "root"
    for folder, version in ((suite, "m/1/suite"), (root, "m/1/root")):
        folder.mkdir()
        (folder / "app.json").write_text(json.dumps({"version": version}))
    text = 'version = {file = "app.json", key = "version"}'
    assert config_of(suite, text, root=root).version.prompt_version == "suite"
    (suite / "app.json").unlink()
    assert config_of(suite, text, root=root).version.prompt_version == "root"


def test_version_file_is_looked_for_in_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "app.json").write_text(json.dumps({"version": "m/1/v1"}))
    (tmp_path / "suite").mkdir()
    monkeypatch.chdir(tmp_path)
    assert config_of(tmp_path / "suite", 'version = {file = "app.json", key = "version"}').version.model == "m"


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("app.json", '{"a": 1,}', "app.json:1: invalid JSON"),
        ("app.json", '{"version": "x", "version": "y"}', "duplicate key 'version'"),
        ("app.yaml", "version: x\nversion: y", "app.yaml:2: invalid YAML: duplicate key"),
        ("app.json", '{"version": "m/v1"}', "app.json: version: 'm/v1' is no version"),
        ("app.json", '{"versions": "m/1/v1"}', "did you mean 'versions'?"),
        ("app.json", '["m/1/v1"]', "no key 'version'"),
    ],
)
def test_version_file_that_is_wrong_is_named(tmp_path, name, content, fragment):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as raised:
        config_of(tmp_path, f'version = {{file = "{name}", key = "version"}}')
    assert fragment in str(raised.value)


def test_unknown_key_is_named_without_a_line_where_it_could_be_two(tmp_path):
    with pytest.raises(ConfigError) as raised:
        config_of(tmp_path, 'note = """\nrepeat = 1\n"""\nrepeat = 1\n'.replace("note", "primary-metric"))
    assert raised.value.message == f"{tmp_path / 'suite.toml'}: unknown key 'repeat'"
    assert raised.value.hint == "did you mean 'repeats'?"


def test_missing_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "suite.toml")


def test_endless_nesting_is_an_error_and_no_crash(tmp_path):
    with pytest.raises(ConfigError):
        config_of(tmp_path, "policy = {a = " + "[" * 5000 + "]" * 5000 + "}")


def test_the_judge_is_read(tmp_path):
    text = '[judge]\nversion = "j/1/v1"\nbase-url = "http://x/v1"\nrepeats = 3\nparameters = { temperature = 0 }\n'
    judge = config_of(tmp_path, text).judge
    assert judge == {
        "version": "j/1/v1",
        "base-url": "http://x/v1",
        "repeats": 3,
        "parameters": {"temperature": 0},
    }
    assert config_of(tmp_path, "").judge is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('verson = "j/1/v1"', "unknown key 'verson'"),
        ('version = "j/1"', "judge.version"),
        ("repeats = 0", "judge.repeats: got 0, expected a whole number in [1, 100]"),
        ("reasks = -1", "judge.reasks"),
        ('reply = "yaml"', "judge.reply: got 'yaml', expected one of json-schema, json-object, text"),
        ('steering = "off"', "judge.steering: got 'off', expected one of withhold, flag"),
        ("timeout-s = 0", "judge.timeout-s"),
        ("parameters = { model = 'x' }", "judge.parameters.model: is set by the gate"),
        ("served-models = 'x'", "judge.served-models"),
        ("embeddings = 1", "judge.embeddings: got 1, expected a version or a table"),
        ("embeddings = 'e/1'", "judge.embeddings.version"),
        ("embeddings = {}", "judge.embeddings: names no version"),
        ("embeddings = { version = 'e/1/v1', reply = 'text' }", "judge.embeddings: unknown key 'reply'"),
        ("embeddings = { version = 'e/1/v1', embeddings = 'e/1/v1' }", "judge.embeddings: unknown key 'embeddings'"),
        ("embeddings = { version = 'e/1/v1', parameters = { model = 'x' } }", "judge.embeddings.parameters.model"),
    ],
)
def test_a_wrong_judge_is_refused(tmp_path, line, told):
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, f"[judge]\n{line}\n")
    assert told in caught.value.message
    assert caught.value.message.startswith(str(tmp_path / "suite.toml"))


def test_defaults_of_a_judge_are_values_that_it_may_have():
    assert all(JUDGE_RULES[key].accepts(value) for key, value in JUDGE_DEFAULTS.items())


@pytest.mark.parametrize("given", [5, ["j/1/v1"], {"version": 5}])
def test_a_scorers_judge_is_a_version_or_a_table(given):
    with pytest.raises(ConfigError, match="here"):
        judge_table("here", given)
    assert judge_table("here", "j/1/v1") == {"version": "j/1/v1"}
