"""Suites of other tools become suites that load and run; what is left out is named. The files are those tools' own."""

import json
from pathlib import Path

import pytest

from aigate.cli.main import main
from aigate.errors import SuiteError, UsageError
from aigate.goldens.check import check_suite
from aigate.goldens.peers.base import PEERS, import_peer, recognised, unique_ids, write_suite
from aigate.goldens.suite import load_suite
from aigate.testing import FakeJudge, LoopbackServer

ASSETS = Path(__file__).parents[2] / "assets" / "peers"
PROMPTFOO = ASSETS / "promptfoo" / "promptfooconfig.yaml"
SOURCES = [
    (PROMPTFOO, "promptfoo", 7),
    (ASSETS / "deepeval.json", "deepeval", 2),
    (ASSETS / "deepeval.csv", "deepeval", 2),
    (ASSETS / "deepeval.jsonl", "deepeval", 2),
    (ASSETS / "inspect.jsonl", "inspect", 2),
    (ASSETS / "inspect.csv", "inspect", 2),
    (ASSETS / "ragas.json", "ragas", 2),
]
IDS = [source.name for source, _, _ in SOURCES]


def written(found, folder, source="source", peer="deepeval"):
    write_suite(found, folder, source=Path(source), peer=peer)
    return load_suite(folder)


def imported(path, peer):
    return import_peer(path, peer)


@pytest.mark.parametrize(("source", "peer", "samples"), SOURCES, ids=IDS)
def test_a_suite_loads_without_a_problem(tmp_path, source, peer, samples):
    suite = written(imported(source, peer), tmp_path / "suite", source, peer)
    assert len(suite) == samples
    assert check_suite(tmp_path / "suite").problems == ()


def grades(asked):
    """What a judge of the scorer `rubric` replies that finds everything good."""
    rows = [{"id": row["id"], "reasoning": "it is so", "grade": 5} for row in asked.data["criteria"]]
    return {"grades": rows}


@pytest.mark.parametrize(("source", "peer", "samples"), SOURCES, ids=IDS)
def test_a_suite_runs_from_the_command_line(tmp_path, monkeypatch, capsys, source, peer, samples):
    monkeypatch.chdir(tmp_path)
    assert main(["goldens", "import", str(source), "--from", peer, "--out", "goldens/it"]) == 0
    out = capsys.readouterr().out
    assert f"{samples} samples from {peer}" in out
    with LoopbackServer(api_key="key") as server, LoopbackServer(FakeJudge({"rubric_grades": grades})) as judge:
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        monkeypatch.setenv("AIGATE_BASE_URL", server.base_url)
        asked = ["--judge", "j/1/v1", "--judge-base-url", judge.base_url, "--judge-api-key-env", ""]
        code = main(["eval", "--suite", "goldens/it", "--threshold", "0", "--quiet", "--no-journal", *asked])
    assert code in {1, 3, 4}  # it ran: without a baseline, and few samples, there is no pass
    told = capsys.readouterr().err
    assert f"{samples} scored" in told or f"{samples} unparseable" in told  # an echo is none of the choices


@pytest.mark.parametrize(("source", "peer", "samples"), SOURCES, ids=IDS)
def test_the_tool_is_seen_where_it_is_certain(source, peer, samples):
    assert recognised(source) == peer


@pytest.mark.parametrize(
    "row",
    [
        {"question": "a", "answer": "b"},
        {"input": "a", "output": "b"},
        {"target": "b"},
        {"input": "a", "target": "b", "expected_output": "c"},
        {"id": 1},
    ],
)
def test_what_several_tools_could_have_written_is_not_guessed(tmp_path, row):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row]))
    assert recognised(path) is None


def test_a_broken_file_is_recognised_as_nothing(tmp_path):
    for name in ("a.json", "a.yaml", "a.jsonl", "a.csv"):
        (tmp_path / name).write_text("{broken: [")
        assert recognised(tmp_path / name) is None
    assert recognised(tmp_path / "missing.json") is None


def test_every_tool_is_tried_here():
    assert {peer for _, peer, _ in SOURCES} == set(PEERS)


def test_an_unknown_tool_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="unknown tool") as refused:
        import_peer(PROMPTFOO, "promptfo")
    assert refused.value.hint == "did you mean 'promptfoo'?"


def test_nothing_is_written_over(tmp_path):
    found = imported(ASSETS / "ragas.json", "ragas")
    written(found, tmp_path / "suite")
    with pytest.raises(UsageError, match="exists already"):
        write_suite(found, tmp_path / "suite", source=Path("x"), peer="ragas")


def test_ids_are_made_different():
    assert unique_ids(["a", "a", "b", "a"]) == ["a", "a-2", "b", "a-3"]


@pytest.mark.parametrize("peer", ["deepeval", "inspect", "ragas"])
@pytest.mark.parametrize("text", ["", "[]", "{}", "[1]", "{broken"])
def test_a_file_without_a_case_is_refused(tmp_path, peer, text):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(SuiteError, match="rows.json"):
        import_peer(path, peer)


# --- promptfoo --------------------------------------------------------------------------------------------------------


def by_id(found):
    return {sample.id: sample for sample in found.samples}


def test_promptfoo_variables_become_input_contexts_and_metadata():
    sample = by_id(imported(PROMPTFOO, "promptfoo"))["returns-window"]
    assert sample.input == "How long can I return items?"
    assert sample.contexts == ("Items can be sent back within 45 days.",)
    assert sample.metadata == {"language": "English", "description": "Returns window"}


def test_promptfoo_asserts_become_rules_and_defaults_are_added():
    sample = by_id(imported(PROMPTFOO, "promptfoo"))["returns-window"]
    assert sample.reference == {
        "assert": [{"type": "contains", "value": "45 days"}, {"type": "not-icontains", "value": "as an ai"}],
        "criteria": ["is polite"],
    }
    assert by_id(imported(PROMPTFOO, "promptfoo"))["json-please"].reference["threshold"] == 0.5


def test_promptfoo_lists_of_values_become_a_case_each():
    inputs = [sample.input for sample in imported(PROMPTFOO, "promptfoo").samples]
    assert inputs[1:3] == ["Do you ship abroad?", "Do you ship to France?"]


def test_promptfoo_tests_in_csv_are_read_with_their_short_asserts():
    found = by_id(imported(PROMPTFOO, "promptfoo"))
    assert found["place"].reference["assert"][0] == {"type": "contains", "value": "Bern"}
    rules = [sample.reference["assert"][:2] for sample in list(found.values())[-2:]]
    assert rules[0] == [{"type": "equals", "value": "Cairnlight"}, {"type": "is-json"}]
    assert rules[1] == [
        {"type": "contains-any", "value": ["9", "nine"]},
        {"type": "levenshtein", "threshold": 8.0, "value": "From 9 to 17"},
    ]


def test_promptfoo_leaves_nothing_out_in_silence():
    left = "\n".join(imported(PROMPTFOO, "promptfoo").left_out)
    for part in (
        "assert latency",
        "test 2: assert javascript",
        "provider anthropic:messages:claude",
        "setting 'organization'",
        "tests from file://tests.py: they come out of code",
        "column '__prefix' of more.csv",
    ):
        assert part in left, left


def test_promptfoo_prompts_keep_their_meaning(tmp_path):
    suite = written(imported(PROMPTFOO, "promptfoo"), tmp_path / "suite")
    sample = next(sample for sample in suite.samples if sample.id == "returns-window")
    [plain] = suite.prompts["v1"].render(sample)
    assert plain["content"] == (
        "You are a support agent. Context: Items can be sent back within 45 days.\n"
        "Answer How long can I return items? in English."
    )
    system, user = suite.prompts["v2"].render(sample)
    assert (system["role"], system["content"]) == ("system", "Answer in English.")
    assert (user["role"], user["content"]) == ("user", "How long can I return items?")
    assert suite.prompts["v1"].parameters == {"temperature": 0, "max_tokens": 200}


def test_promptfoo_never_shows_the_rules_to_the_model(tmp_path):
    suite = written(imported(PROMPTFOO, "promptfoo"), tmp_path / "suite")
    for prompt in suite.prompts.values():
        for sample in suite.samples:
            assert "as an ai" not in json.dumps(prompt.render(sample))


@pytest.mark.parametrize(
    ("provider", "version", "options"),
    [
        ("openai:gpt-4o-2024-11-20", "gpt-4o/2024-11-20/v1", {}),
        ("openai:chat:gpt-4o-mini", "gpt-4o-mini/undated/v1", {"model": "gpt-4o-mini"}),
        ({"openai:gpt-4o-2024-11-20": {"config": {"temperature": 1}}}, "gpt-4o/2024-11-20/v1", {}),
    ],
)
def test_promptfoo_providers_become_a_version(tmp_path, provider, version, options):
    found = imported(config(tmp_path, providers=[provider]), "promptfoo")
    assert (found.version, found.provider_options) == (version, options)


def config(folder, **more):
    whole = {
        "prompts": ["{{q}}"],
        "tests": [{"vars": {"q": "a"}, "assert": [{"type": "equals", "value": "a"}]}],
        **more,
    }
    path = folder / "promptfooconfig.yaml"
    path.write_text(json.dumps(whole))
    return path


def judged(**rule):
    return [{"vars": {"q": "a"}, "assert": [rule]}]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"scenarios": [1]}, "'scenarios' of the configuration"),
        ({"prompts": ["file://prompt.py"]}, "prompt file://prompt.py: it comes out of code"),
        ({"prompts": ["exec:./x.sh"]}, "prompt exec:./x.sh"),
        ({"tests": [{"vars": {"q": "a"}, "options": {"transform": "x"}}]}, "test 1: 'options' (transform)"),
        ({"tests": [{"vars": {"q": "a"}, "repeat": 2}]}, "test 1: 'repeat'"),
        (
            {"tests": [{"vars": {"q": "a"}, "assert": [{"type": "contains", "value": "a", "transform": "x"}]}]},
            "assert contains with transform",
        ),
        ({"tests": [{"vars": {"q": "a"}, "assert": [{"type": "regex", "value": "(?<a"}]}]}, "assert regex: regex"),
        ({"tests": [{"vars": {"q": "a"}, "assert": [{"type": "equals", "value": "{% if q %}b"}]}]}, "is a template"),
        ({"tests": [{"vars": {"q": "file://x.js"}}, {"vars": {"q": "a"}}]}, "variable 'q' from file://x.js"),
        ({"tests": ["https://example.org/tests", {"vars": {"q": "a"}}]}, "tests from https://example.org/tests"),
        ({"tests": judged(type="llm-rubric", value="a", rubricPrompt="x")}, "assert llm-rubric with rubricPrompt"),
        ({"tests": judged(type="llm-rubric", value="a", threshold=0.5)}, "'threshold' of assert llm-rubric"),
        ({"tests": judged(type="llm-rubric", value="a", provider="x")}, "'provider' of assert llm-rubric"),
        ({"tests": judged(type="llm-rubric", value={"a": 1})}, "assert llm-rubric needs a text, got {'a': 1}"),
        ({"tests": judged(type="llm-rubric", value="{% if q %}b")}, "assert llm-rubric: its value is a template"),
        ({"tests": judged(type="not-llm-rubric", value="a")}, "assert not-llm-rubric: unknown type"),
        ({"tests": judged(type="similar")}, "assert similar needs a text, got None"),
        ({"tests": judged(type="similar", value=["a", 1])}, "assert similar needs a text, got ['a', 1]"),
        (
            {"tests": judged(type="similar", value="a", threshold=7)},
            "assert similar: threshold is 7, expected a number",
        ),
        ({"tests": judged(type="similar", value="a", weight=2)}, "'weight' of assert similar"),
        ({"tests": [{**judged(type="similar", value="a")[0], "threshold": 0.5}]}, "'threshold' over llm-rubric and"),
        ({"tests": [{"vars": {"q": "a"}, "assert": [{"type": "assert-set", "assert": []}]}]}, "assert-set with assert"),
    ],
)
def test_promptfoo_names_what_it_cannot_carry(tmp_path, more, named):
    assert named in "\n".join(imported(config(tmp_path, **more), "promptfoo").left_out)


ASKS_MODELS = [
    {
        "vars": {"q": "How long?"},
        "assert": [
            {"type": "llm-rubric", "value": "answers {{q}} politely"},
            "similar(0.8): Within 45 days.",
            {"type": "llm-rubric", "value": "names the days"},
        ],
    },
    {"vars": {"q": "Do you ship?"}, "assert": [{"type": "similar", "value": ["Yes.", "We do."]}]},
    {"vars": {"q": "Where?"}, "assert": ["contains: Bern", {"type": "similar", "value": "a"}, "similar: b"]},
]


def test_promptfoo_asserts_that_ask_a_model_become_criteria_and_texts_of_their_sample(tmp_path):
    found = imported(config(tmp_path, tests=ASKS_MODELS), "promptfoo")
    assert [sample.reference for sample in found.samples] == [
        {"criteria": ["answers How long? politely", "names the days"], "similar": ["Within 45 days."]},
        {"similar": ["Yes.", "We do."]},
        {"assert": [{"type": "contains", "value": "Bern"}], "similar": ["a"]},
    ]
    assert [sample.tags for sample in found.samples] == [("similar-0.8",), ("similar-0.75",), ("similar-0.75",)]
    assert found.left_out == (
        "test 3: assert similar, the second of its test: 'similarity' tells one likeness per answer",
    )


def test_without_rules_the_criteria_are_what_a_threshold_speaks_of(tmp_path):
    found = imported(config(tmp_path, tests=judged(type="llm-rubric", value="is polite")), "promptfoo")
    assert (found.primary_metric, found.scorers) == (
        "rubric",
        ('{ scorer = "rubric", criteria = "sample" }', '"shape"'),
    )


def test_what_the_suite_lacks_is_told_by_import_and_by_check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = config(tmp_path, tests=ASKS_MODELS)
    assert main(["goldens", "import", str(source), "--out", "it"]) == 0
    told = capsys.readouterr().err
    assert "next: name version and embeddings under [judge] in it/suite.toml" in told
    assert main(["goldens", "check", "it"]) == 2
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")]
    assert [problem.partition(" (write [judge] and ")[0] for problem in problems] == [
        "problem: scorer 'rubric' needs a judge, and none is named",
        "problem: scorer 'similarity' needs an embedding model, and none is named",
    ]
    suite = Path("it/suite.toml")
    lines = suite.read_text().partition("# [judge]")
    suite.write_text(lines[0] + "[judge]" + lines[2].replace("# ", ""))
    assert main(["goldens", "check", "it"]) == 0


def test_a_text_that_is_not_as_alike_as_its_threshold_fails_the_suite(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tests = [
        {"vars": {"q": text}, "assert": [{"type": "similar", "value": text, "threshold": 0.9}]}
        for text in ("red wine", "white wine", "cold beer")
    ]
    assert main(["goldens", "import", str(config(tmp_path, tests=tests)), "--out", "it"]) == 0
    Path("bot.py").write_text("def answer(text):\n    return text.replace('cold', 'warm')\n")
    with LoopbackServer(FakeJudge({})) as server:
        table = f'[judge]\nembeddings = {{ version = "e/1/v1", base-url = "{server.base_url}", api-key-env = "" }}\n'
        Path("it/suite.toml").write_text(Path("it/suite.toml").read_text() + table)
        asked = ["--target", "bot.py:answer", "--version", "b/1/v1", "--no-journal", "--quiet"]
        capsys.readouterr()
        main(["eval", "--suite", "it", *asked, "--out", "run.jsonl", "--format", "json"])
    checks = {check["check"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert (checks["must-pass"]["status"], checks["must-pass"]["threshold"]) == ("fail", 0.9)
    assert checks["must-pass"]["summary"] == "2 of 3 tagged 'similar-0.9' pass"


def test_where_nothing_can_be_carried_over_the_error_says_why(tmp_path):
    tests = [{"vars": {"q": "file://x.js"}}]
    with pytest.raises(SuiteError, match=r"no case in it; not carried over: .*variable 'q' from file://x\.js"):
        imported(config(tmp_path, tests=tests), "promptfoo")


def test_what_many_tests_have_in_common_is_said_once(tmp_path):
    tests = [{"vars": {"q": f"a{i}"}} for i in range(5)]
    default = {"assert": [{"type": "latency", "threshold": 3000}], "options": {"transform": "x"}}
    assert imported(config(tmp_path, tests=tests, defaultTest=default), "promptfoo").left_out == (
        "test 1, test 2, test 3 and 2 more: 'options' (transform)",
        "test 1, test 2, test 3 and 2 more: assert latency: unknown type 'latency'",
    )


def test_promptfoo_fills_variables_into_values(tmp_path):
    tests = [{"vars": {"q": "Bern"}, "assert": [{"type": "contains", "value": "in {{ q }}"}]}]
    [sample] = imported(config(tmp_path, tests=tests), "promptfoo").samples
    assert sample.reference["assert"] == [{"type": "contains", "value": "in Bern"}]


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd"])
def test_promptfoo_reads_no_file_outside_its_folder(tmp_path, name):
    folder = tmp_path / "config"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    with pytest.raises(SuiteError, match="lies outside its folder"):
        imported(config(folder, prompts=[f"file://{name}"]), "promptfoo")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "promptfooconfig.yaml:"),
        ("- 1", "no 'tests' in it"),
        ("prompts: [x]", "no 'tests' in it"),
        ("tests: []\nprompts: [x]", "no case in it"),
        ("tests: [file://missing.csv]\nprompts: [x]", "missing.csv: cannot be read"),
    ],
)
def test_promptfoo_says_what_is_wrong_with_a_configuration(tmp_path, text, told):
    path = tmp_path / "promptfooconfig.yaml"
    path.write_text(text)
    with pytest.raises(SuiteError, match=told):
        import_peer(path, "promptfoo")


# --- DeepEval ---------------------------------------------------------------------------------------------------------


def test_deepeval_goldens_keep_input_answer_contexts_and_metadata():
    first, second = imported(ASSETS / "deepeval.json", "deepeval").samples
    assert (first.id, first.input, first.reference) == ("returns-1", "How long can I return?", "45 days")
    assert first.contexts == ("Items can be sent back within 45 days.",)
    assert first.metadata == {"source": "faq", "comments": "x"}
    assert (second.contexts, second.metadata) == ((), {})


def test_deepeval_formats_give_the_same_suite():
    whole, *others = (imported(ASSETS / f"deepeval.{kind}", "deepeval") for kind in ("json", "csv", "jsonl"))
    assert all(other.samples == whole.samples for other in others)


def test_deepeval_answers_are_recordings_and_run_offline_where_there_are_all(tmp_path):
    rows = [{"input": f"q{n}", "expected_output": "yes", "actual_output": "yes"} for n in range(3)]
    (tmp_path / "g.json").write_text(json.dumps(rows))
    found = imported(tmp_path / "g.json", "deepeval")
    assert (found.provider, found.provider_options) == ("replay", {"recorded": "answers.jsonl"})
    written(found, tmp_path / "suite")
    assert main(["eval", "--suite", str(tmp_path / "suite"), "--quiet", "--out", str(tmp_path / "r.jsonl")]) == 4


def test_deepeval_conversations_and_tools_are_named(tmp_path):
    rows = [
        {"input": "q", "expected_output": "a", "expected_tools": [{"name": "x"}]},
        {"scenario": "s", "turns": [], "expected_outcome": "o"},
    ]
    (tmp_path / "g.json").write_text(json.dumps(rows))
    found = imported(tmp_path / "g.json", "deepeval")
    assert len(found.samples) == 1
    assert found.left_out == (
        "1 conversational golden (scenario, turns): only single answers are gated",
        "'expected_tools' of 1 golden",
    )


# --- Inspect ----------------------------------------------------------------------------------------------------------


def test_inspect_choices_are_lettered_in_the_prompt_and_read_from_the_answer(tmp_path):
    suite = written(imported(ASSETS / "inspect.jsonl", "inspect"), tmp_path / "suite")
    first = suite.samples[0]
    assert (first.id, first.reference, first.metadata["choices"]) == ("1", "B", ["Rome", "Paris", "Bern"])
    [message] = suite.prompts["v1"].render(first)
    assert "B) Paris" in message["content"]


@pytest.mark.parametrize(
    ("answer", "right"), [("ANSWER: B", 1), ("answer: (b)", 1), ("ANSWER: A", 0), ("It is ANSWER:B.", 1), ("B", 0)]
)
def test_inspect_answers_are_read_as_inspect_reads_them(tmp_path, answer, right):
    from aigate.core.response import Response
    from aigate.core.score import Score
    from aigate.running.evaluation import scorers_of

    suite = written(imported(ASSETS / "inspect.jsonl", "inspect"), tmp_path / "suite")
    scored = scorers_of(suite)[0].score(suite.samples[0], Response(answer))
    assert (scored.value if isinstance(scored, Score) else 0) == right


def test_inspect_names_what_it_cannot_carry():
    left = "\n".join(imported(ASSETS / "inspect.jsonl", "inspect").left_out)
    assert "'sandbox' of 1 row" in left
    assert "'files' of 1 row" in left
    assert "row 2 ('primes'): several right choices" in left


def test_inspect_targets_without_choices_may_be_several(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"input": "x", "target": ["yes", "yep"]}\n')
    found = imported(tmp_path / "d.jsonl", "inspect")
    assert found.samples[0].reference == ["yes", "yep"]
    assert found.primary_metric == "includes"


def test_inspect_a_target_that_is_no_choice_is_refused(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"input": "x", "choices": ["a", "b"], "target": "C"}\n')
    with pytest.raises(SuiteError, match="none of the letters AB"):
        imported(tmp_path / "d.jsonl", "inspect")


# --- ragas ------------------------------------------------------------------------------------------------------------


def test_ragas_the_answer_is_an_answer_and_never_the_reference(tmp_path):
    rows = [{"question": "q", "answer": "said", "contexts": ["c"], "ground_truth": "right"}]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    found = imported(tmp_path / "r.json", "ragas")
    assert found.samples[0].reference == "right"
    assert found.answers == ({"id": found.samples[0].id, "output": "said"},)


def test_ragas_rows_of_today_are_read():
    found = imported(ASSETS / "ragas.json", "ragas")
    second = found.samples[1]
    assert second.contexts == ("We ship to all of Europe.", "By post.")
    assert second.metadata == {"synthesizer_name": "single_hop"}
    assert found.left_out == ("'rubrics' of 1 row",)
    assert found.provider == "replay"


def test_ragas_messages_become_chat_messages(tmp_path):
    turns = [
        {"content": "Hi", "type": "human"},
        {"content": "Hello", "type": "ai"},
        {"content": "Bye", "type": "human"},
    ]
    (tmp_path / "r.json").write_text(json.dumps([{"user_input": turns, "reference": "x"}]))
    [sample] = imported(tmp_path / "r.json", "ragas").samples
    assert [message["role"] for message in sample.input] == ["user", "assistant", "user"]


def test_ragas_a_dataset_that_datasets_saved_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = json.loads((ASSETS / "ragas.json").read_text())
    rows = [{key: row[key] for key in ("user_input", "retrieved_contexts", "response", "reference")} for row in rows]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    found = import_peer(tmp_path / "saved", "ragas")
    assert [sample.reference for sample in found.samples] == ["45 days", "To all of Europe"]
    suite = written(found, tmp_path / "suite", tmp_path / "saved", "ragas")
    assert len(suite) == 2


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments):
    try:
        return main(["goldens", "import", *map(str, arguments)])
    except SystemExit as stopped:
        return stopped.code


def test_the_command_names_everything_left_out(tmp_path, capsys):
    assert run(PROMPTFOO, "--out", tmp_path / "suite") == 0
    err = capsys.readouterr().err
    assert err.count("not carried over: ") == len(imported(PROMPTFOO, "promptfoo").left_out)
    assert "next: aigate eval --suite" in err
    assert "not carried over: test 2: assert javascript" in (tmp_path / "suite" / "suite.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "deepeval", "--out", "x.jsonl"], "writes a whole suite"),
        (["--from", "deepeval", "--input", "q", "--out", "suite"], "--input"),
        (["--from", "nothing", "--out", "suite"], "unknown tool"),
    ],
)
def test_the_command_refuses_what_does_not_fit(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert run(ASSETS / "deepeval.json", *arguments) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_does_not_guess(tmp_path, capsys):
    (tmp_path / "rows.json").write_text('[{"question": "a", "answer": "b"}]')
    assert run(tmp_path / "rows.json", "--out", tmp_path / "suite") == 2
    assert "not certain to be of" in capsys.readouterr().err
    assert run(tmp_path / "rows.json", "--out", tmp_path / "samples.jsonl") == 0
