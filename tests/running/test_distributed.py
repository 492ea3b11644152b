"""What can be sent to a worker, and what is refused before anything is asked. Real clusters: tests/cli/test_dask.py."""

import json
import sys

import pytest

from aigate.errors import MissingExtraError, UsageError
from aigate.goldens.suite import load_suite
from aigate.providers.callable import importable_target
from aigate.running.evaluation import Choices, evaluate, prepare
from aigate.testing import FakeProvider, echo


@pytest.fixture
def suite(tmp_path):
    folder = tmp_path / "faq"
    folder.mkdir()
    (folder / "suite.toml").write_text('version = "m/1/v1"\nscorers = ["exact_match", "shape"]\n')
    rows = [{"id": f"s{n}", "input": f"q{n}", "reference": f"q{n}"} for n in range(3)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def local_function(text):
    return text


class Bot:
    def answer(self, text):
        return text


def inner():
    def answer(text):
        return text

    return answer


@pytest.mark.parametrize(
    ("provider", "named"),
    [
        (lambda text: text, "function"),
        (inner(), "function inner.<locals>.answer"),
        (Bot().answer, "method"),
        (FakeProvider({}), "FakeProvider"),
    ],
    ids=["lambda", "closure", "method", "provider"],
)
def test_a_provider_that_lives_in_this_process_is_refused_before_anything_is_asked(suite, provider, named):
    with pytest.raises(UsageError, match="a worker cannot be given it") as caught:
        evaluate(suite, provider=provider, engine="dask")
    assert f"the provider is {named}" in caught.value.message
    assert "module:function" in caught.value.hint


def test_a_function_is_named_where_another_process_finds_it():
    assert importable_target(echo) == "aigate.testing:echo"
    assert importable_target(json.dumps) == "json:dumps"
    for function in (lambda text: text, inner(), Bot().answer, len.__call__):
        assert importable_target(function) is None


def test_a_function_of_the_script_that_was_started_is_not_found_by_others(monkeypatch):
    main = type(sys)("__main__")
    main.answer = local_function
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(local_function, "__module__", "__main__")
    monkeypatch.setattr(local_function, "__qualname__", "answer")
    assert importable_target(local_function) is None


def test_an_importable_function_becomes_a_recipe(suite):
    engine = prepare(load_suite(suite), Choices(provider=echo, engine="dask", dask_workers=3), environ={}).engine
    assert (engine.recipe.provider, engine.recipe.options) == ("callable", {"target": "aigate.testing:echo"})
    assert [row["name"] for row in engine.recipe.scorers] == ["exact_match", "shape"]
    assert (engine.workers, engine.scheduler) == (3, None)


def test_recorded_answers_are_not_asked_of_workers(suite, tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"id": "s0", "output": "x"}\n')
    options = {"recorded": str(tmp_path / "answers.jsonl")}
    choices = Choices(provider="replay", provider_options=options, engine="dask")
    assert prepare(load_suite(suite), choices, environ={}).engine.recipe.provider is None


def test_keys_are_not_in_the_recipe_and_are_given_to_workers_of_this_machine(suite):
    choices = Choices(provider="openai", engine="dask")
    engine = prepare(load_suite(suite), choices, environ={"OPENAI_API_KEY": "secret"}).engine
    assert "secret" not in engine.recipe.to_json()
    assert engine.environ == {"OPENAI_API_KEY": "secret"}


def test_an_unknown_engine_names_the_nearest(suite):
    with pytest.raises(UsageError, match="engine") as caught:
        evaluate(suite, provider=echo, engine="dusk")
    assert "dask" in caught.value.hint


def test_the_local_engine_needs_no_recipe(suite):
    assert prepare(load_suite(suite), Choices(provider=FakeProvider({})), environ={}).engine is None


def test_dask_that_is_not_installed_names_its_extra(suite, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match="distributed") as caught:
        evaluate(suite, provider=echo, engine="dask")
    assert "aigate[dask]" in caught.value.hint
