import json
from pathlib import Path

import pytest

from aigate.core.digest import combined_digest
from aigate.core.sample import Sample
from aigate.core.version import VersionId
from aigate.errors import ConfigError, SuiteError, UsageError
from aigate.goldens.samples import dump_samples
from aigate.goldens.suite import load_suite

SAMPLES = [
    Sample("a", "one", tags=("refunds", "safety")),
    Sample("b", "two", tags=("refunds",)),
    Sample("c", "three"),
    Sample("d", "four", tags=("safety",)),
]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "faq"
    path.mkdir()
    (path / "suite.toml").write_text('version = "m/1/v1"\n')
    dump_samples(SAMPLES, path / "samples.jsonl")
    return path


def with_prompts(folder, *versions):
    (folder / "prompts").mkdir()
    for version in versions:
        (folder / "prompts" / f"{version}.md").write_text("{{ input }}")
    return folder


def test_suite_is_read_whole(folder):
    with_prompts(folder, "v1", "v2")
    (folder / "contract.json").write_text(json.dumps({"type": "object"}))
    (folder / "NOTES.txt").write_text("unexpected files are fine")
    suite = load_suite(str(folder))  # as text or as a path
    assert (suite.name, suite.path, len(suite)) == ("faq", folder, 4)
    assert suite.samples == tuple(SAMPLES)
    assert list(suite.prompts) == ["v1", "v2"]
    assert suite.contract == {"type": "object"}
    assert suite.config.version == VersionId("m", "1", "v1")
    assert suite.tags == {"refunds": 2, "safety": 2}


def test_digest_is_of_the_samples_in_any_order(folder):
    digest = load_suite(folder).digest
    assert digest == combined_digest(sample.digest for sample in SAMPLES)
    dump_samples(SAMPLES[::-1], folder / "samples.jsonl")
    assert load_suite(folder).digest == digest
    dump_samples(SAMPLES[:-1], folder / "samples.jsonl")
    assert load_suite(folder).digest != digest


def test_name_of_the_current_directory_is_its_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_suite(Path()).name == "faq"


def test_suite_without_prompts_and_contract(folder):
    suite = load_suite(folder)
    assert suite.prompts == {}
    assert suite.contract is None
    assert suite.prompt_for(VersionId("m", "1", "anything")) is None


def test_prompt_of_a_version(folder):
    suite = load_suite(with_prompts(folder, "v1", "v2"))
    assert suite.prompt_for(VersionId("m", "1", "v2")) is suite.prompts["v2"]
    with pytest.raises(SuiteError, match="no prompt 'v3' for m/1/v3; it has v1, v2"):
        suite.prompt_for(VersionId("m", "1", "v3"))


def test_prompts_folder_without_prompts_is_an_error(folder):
    (folder / "prompts").mkdir()
    (folder / "prompts" / "v1.txt").write_text("{{ input }}")
    with pytest.raises(SuiteError, match=r"prompts: no \.md file in it"):
        load_suite(folder)


def test_missing_folder_names_the_nearest_suite(folder):
    with pytest.raises(SuiteError, match="no such folder") as raised:
        load_suite(folder.with_name("fag"))
    assert raised.value.hint == "did you mean 'faq'?"
    with pytest.raises(SuiteError, match="no such folder") as raised:
        load_suite(folder / "none" / "here")
    assert raised.value.hint == "`aigate init` writes a suite that runs as it is"


def test_file_instead_of_folder_names_the_folder(folder):
    with pytest.raises(SuiteError) as raised:
        load_suite(folder / "suite.toml")
    assert raised.value.hint == f"did you mean {folder}?"


def test_folder_of_suites_is_no_suite(folder):
    with pytest.raises(SuiteError, match=r"no suite\.toml in it") as raised:
        load_suite(folder.parent)
    assert raised.value.hint == f"did you mean {folder}?"


def test_folder_without_suite_file_says_how_to_start(tmp_path):
    with pytest.raises(SuiteError) as raised:
        load_suite(tmp_path)
    assert "aigate init" in raised.value.hint


def test_folder_without_samples_says_how_to_get_some(folder):
    (folder / "samples.jsonl").unlink()
    with pytest.raises(SuiteError, match=r"no samples\.jsonl in it") as raised:
        load_suite(folder)
    assert "goldens import" in raised.value.hint


def test_compressed_samples_are_found_but_never_beside_plain_ones(folder):
    dump_samples(SAMPLES[:2], folder / "samples.jsonl.gz")
    with pytest.raises(SuiteError, match="both"):
        load_suite(folder)
    (folder / "samples.jsonl").unlink()
    assert len(load_suite(folder)) == 2


def test_wrong_configuration_is_a_config_error(folder):
    (folder / "suite.toml").write_text("repeat = 1")
    with pytest.raises(ConfigError):
        load_suite(folder)


def test_root_is_where_the_version_file_is_looked_for(folder, tmp_path):
    (tmp_path / "app.json").write_text('{"v": "m/2/v1"}')
    (folder / "suite.toml").write_text('version = {file = "app.json", key = "v"}')
    assert load_suite(folder, root=tmp_path).config.version == VersionId("m", "2", "v1")


@pytest.mark.parametrize(
    ("limit", "tags", "ids", "description"),
    [
        (None, [], "abcd", None),
        (4, [], "abcd", None),
        (99, [], "abcd", None),
        (2, [], "ab", "first 2: 2 of 4 samples"),
        (None, ["refunds"], "ab", "tags refunds: 2 of 4 samples"),
        (None, ["safety", "refunds"], "abd", "tags refunds, safety: 3 of 4 samples"),
        (1, ["safety"], "a", "tags safety; first 1: 1 of 4 samples"),
        (2, ["safety"], "ad", "tags safety: 2 of 4 samples"),
    ],
)
def test_select_keeps_suite_order_and_says_how_it_narrowed(folder, limit, tags, ids, description):
    samples, told = load_suite(folder).select(limit, tags)
    assert "".join(sample.id for sample in samples) == ids
    assert told == description


def test_select_refuses_unknown_tag_and_limit_below_one(folder):
    suite = load_suite(folder)
    with pytest.raises(UsageError, match="unknown tag 'refund'") as raised:
        suite.select(None, ["refund"])
    assert raised.value.hint == "did you mean 'refunds'?"
    with pytest.raises(UsageError, match="--limit: got 0"):
        suite.select(0)
