import json

import pytest

from aigate.core.sample import Sample
from aigate.errors import SuiteError
from aigate.goldens.check import check_suite
from aigate.goldens.prompts import load_prompt
from aigate.goldens.samples import dump_samples
from aigate.goldens.suite import load_suite


def suite_of(tmp_path, samples, *, config="", prompts=(), contract=None):
    folder = tmp_path / "faq"
    folder.mkdir()
    (folder / "suite.toml").write_text(config)
    dump_samples(samples, folder / "samples.jsonl")
    if prompts:
        (folder / "prompts").mkdir()
    for name, text in dict(prompts).items():
        (folder / "prompts" / f"{name}.md").write_text(text)
    if contract is not None:
        (folder / "contract.json").write_text(json.dumps(contract))
    return folder


def good(name, text, **fields):
    return Sample(name, text, **{"reference": "yes", "tags": ("t",), **fields})


def test_sound_suite_passes_and_is_described(tmp_path):
    samples = [
        good("a", "x" * 10, group="g"),
        good("b", "x" * 20, group="g", contexts=("c",)),
        good("c", "x" * 30, tags=("t", "u")),
    ]
    folder = suite_of(tmp_path, samples, config='version = "m/1/v1"', prompts={"v1": "{{ input }}"})
    report = check_suite(folder)
    assert (report.problems, report.warnings, report.passed) == ((), (), True)
    assert report.description == {
        "samples": 3,
        "groups": 1,
        "units": 2,
        "tags": {"t": 3, "u": 1},
        "with_reference": 3,
        "with_contexts": 1,
        "input_characters": {"p0": 10, "p50": 20, "p90": 20, "p100": 30},
        "prompts": {"v1": load_prompt(folder / "prompts" / "v1.md").digest},
        "digest": load_suite(folder).digest,
    }
    assert json.loads(json.dumps(report.to_dict()))["passed"] is True


def test_problems_of_every_file_are_collected(tmp_path):
    folder = suite_of(tmp_path, [good("a", "x")], config="repeat = 1", prompts={"v1": "{{ question }}", "v2": "{% if"})
    (folder / "samples.jsonl").write_text('{"id": "a", "input": "x"}\n{"id": "b"}\nbroken\n')
    (folder / "contract.json").write_text("{")
    report = check_suite(folder)
    places = [problem.split(": ")[0].removeprefix(f"{folder}/") for problem in report.problems]
    assert places == [
        "samples.jsonl:2",
        "samples.jsonl:3",
        "prompts/v1.md:1",
        "prompts/v2.md:1",
        "suite.toml:1",
        "contract.json:1",
    ]
    assert not report.passed
    assert report.to_dict()["passed"] is False
    assert report.description["samples"] == 1


def test_check_finds_whatever_load_would_refuse(tmp_path):
    folder = suite_of(tmp_path, [good("a", "x")])
    (folder / "samples.jsonl").unlink()
    report = check_suite(folder)
    assert "no samples.jsonl in it" in report.problems[0]
    assert report.description["digest"] is None
    assert report.description["input_characters"] == {}
    (folder / "prompts").mkdir()
    assert any("no .md file in it" in problem for problem in check_suite(folder).problems)


def test_path_that_is_no_suite_raises(tmp_path):
    with pytest.raises(SuiteError):
        check_suite(tmp_path / "missing")


def test_every_prompt_is_rendered_for_every_sample(tmp_path):
    samples = [good("a", "x", metadata={"k": "1"}), good("b", "y"), good("c", "z")]
    folder = suite_of(tmp_path, samples, prompts={"v1": "{{ input }}", "v2": "{{ input }}\n{{ metadata.k }}"})
    (problem,) = check_suite(folder).problems
    assert problem.startswith(f"{folder / 'prompts' / 'v2.md'}:2: 'dict object' has no attribute 'k' (sample 'b')")
    assert problem.endswith("; fails for 2 of 3 samples")


def test_version_without_its_prompt_is_a_problem(tmp_path):
    folder = suite_of(tmp_path, [good("a", "x")], config='version = "m/1/v3"', prompts={"v1": "{{ input }}"})
    (problem,) = check_suite(folder).problems
    assert "version 'm/1/v3' names a prompt that is not there; there are v1" in problem


def history(folder, *rows):
    (folder / "baselines").mkdir(exist_ok=True)
    (folder / "baselines" / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_prompt_edited_under_its_promoted_version_is_a_problem(tmp_path):
    folder = suite_of(tmp_path, [good("a", "x")], prompts={"v1": "{{ input }}", "v2": "{{ input }}!"})
    digest = load_prompt(folder / "prompts" / "v1.md").digest
    history(folder, {"version": "m/1/v1", "prompt_digest": digest}, {"version": "m/1/v0", "prompt_digest": "sha256:0"})
    assert check_suite(folder).problems == ()
    (folder / "prompts" / "v1.md").write_text("{{ input }}?")
    (problem,) = check_suite(folder).problems
    assert problem.startswith(f"{folder / 'prompts' / 'v1.md'}: prompt edited under the same version: 'v1'")
    assert digest[:19] in problem


def test_history_rows_without_a_prompt_are_skipped_and_broken_ones_are_not(tmp_path):
    folder = suite_of(tmp_path, [good("a", "x")], prompts={"v1": "{{ input }}"})
    history(folder, {"note": "x"}, {"version": "m/1/v1", "prompt_digest": None}, {"version": "m/1/v1"})
    assert check_suite(folder).problems == ()
    history(folder, {"version": "v1", "prompt_digest": "sha256:0"})
    assert "history.jsonl:1: 'v1' is no version" in check_suite(folder).problems[0]
    (folder / "baselines" / "history.jsonl").write_text("{}\n{")
    assert "history.jsonl:2: invalid JSON" in check_suite(folder).problems[0]


def warnings_of(tmp_path, samples, **options):
    report = check_suite(suite_of(tmp_path, samples, **options))
    assert report.problems == ()
    return report.warnings


def test_missing_references_and_tags_are_counted_and_named(tmp_path):
    samples = [Sample(f"s{number}", f"text {number}") for number in range(7)] + [good("ok", "x")]
    references, tags = warnings_of(tmp_path, samples)
    assert references == "7 of 8 samples: no reference: s0, s1, s2, s3, s4 and 2 more"
    assert tags == "7 of 8 samples: no tags: s0, s1, s2, s3, s4 and 2 more"


def test_reference_that_is_false_or_empty_is_there(tmp_path):
    assert warnings_of(tmp_path, [good("a", "x", reference=False), good("b", "y", reference="")]) == ()


@pytest.mark.parametrize("scorer", ["grounding", "faithfulness"])
def test_missing_contexts_matter_when_a_scorer_needs_them(tmp_path, scorer):
    samples = [good("a", "x"), good("b", "y", contexts=("c",))]
    (warning,) = warnings_of(tmp_path, samples, config=f'scorers = ["exact_match", "{scorer}"]')
    assert warning == f"1 of 2 samples: no contexts, which {scorer} needs: a"


def test_missing_contexts_do_not_matter_otherwise(tmp_path):
    assert warnings_of(tmp_path, [good("a", "x")], config='scorers = ["exact_match"]') == ()


def test_group_with_one_member_is_named(tmp_path):
    samples = [good("a", "x", group="one"), good("b", "y", group="two"), good("c", "z", group="two")]
    assert warnings_of(tmp_path, samples) == ("1 of 2 groups has one member: one",)


def test_inputs_alike_but_for_case_and_space_are_named(tmp_path):
    samples = [good("a", "What  is it?"), good("b", " what is\nIT?"), good("c", "What is it"), good("d", "STRASSE")]
    samples += [good("e", "straße")]
    assert warnings_of(tmp_path, samples) == (
        "2 samples have the same input but for case and space: a, b",
        "2 samples have the same input but for case and space: d, e",
    )


def test_same_question_about_other_passages_is_no_duplicate(tmp_path):
    samples = [good("a", "Summarize.", contexts=("one",)), good("b", "Summarize.", contexts=("two",))]
    assert warnings_of(tmp_path, samples) == ()


def test_prompt_that_never_asks_the_input_is_named(tmp_path):
    (warning,) = warnings_of(tmp_path, [good("a", "x")], prompts={"v1": "Say hello."})
    assert "v1.md: the prompt never uses 'input'" in warning


CONTRACT = {"type": "object", "required": ["days"], "properties": {"days": {"type": "integer"}}}


def test_structured_references_must_satisfy_the_contract(tmp_path):
    samples = [
        good("object", "1", reference={"days": "30"}),
        good("text", "2", reference='{"day": 30}'),
        good("array", "3", reference=[1]),
        good("sound", "4", reference={"days": 30}),
        good("sound-text", "5", reference='{"days": 30}'),
        good("prose", "6", reference="thirty days"),
        good("number", "7", reference="30"),
    ]
    found = warnings_of(tmp_path, samples, contract=CONTRACT)
    assert [warning.split("'")[1] for warning in found] == ["object", "text", "array"]
    assert "$.days: '30' is not of type 'integer'" in found[0]


def test_contract_that_refers_elsewhere_fetches_nothing(tmp_path):
    elsewhere = tmp_path / "answer.json"
    elsewhere.write_text(json.dumps(CONTRACT))
    contract = {"$ref": elsewhere.as_uri()}  # jsonschema's own registry would open it
    folder = suite_of(tmp_path, [good("a", "x", reference={"days": 1})], contract=contract)
    (problem,) = check_suite(folder).problems
    assert f"contract.json: the reference '{elsewhere.as_uri()}' cannot be resolved" in problem
