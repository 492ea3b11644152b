"""From `[judge]` to who is asked: the judge, the embedding model, or both."""

from types import SimpleNamespace

import pytest

from aigate.core.score import MetricSpec, Unscored
from aigate.errors import ConfigError, ProviderConfigError
from aigate.goldens.suite import load_suite
from aigate.providers.openai import OpenAIProvider
from aigate.running.judges import JudgeChoices, judge_plans, named_judges, scorers_of
from aigate.scorers.base import ScorerSettings
from aigate.scorers.judge import Judge
from aigate.testing import FakeProvider, fake_embeddings_identity, fake_judge_identity

ENVIRON = {"JUDGES_KEY": "sk-judge", "OTHER_KEY": "sk-other"}
JUDGE = 'version = "j/1/v1"\nbase-url = "http://judge.test/v1"\napi-key-env = "JUDGES_KEY"\ntimeout-s = 7\n'


class Asks:
    """Asks what its argument says."""

    def __init__(self, settings):
        if settings.argument == "judge":
            judge = settings.needed_judge().identity({})
        elif settings.argument == "embeddings":
            judge = settings.needed_embeddings().identity({})
        else:
            settings.needed_embeddings()
            judge = settings.needed_judge().identity({}, embeds=True)
        self.spec = MetricSpec(settings.argument, f"asks:{settings.argument}", deterministic=False, judge=judge)

    def applies_to(self, sample):
        return Unscored("not_applicable", "no")

    async def judge(self, sample, response, access):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def asking(monkeypatch):
    monkeypatch.setattr("aigate.scorers.base.SCORERS", SimpleNamespace(factory=lambda name: Asks))


def suite_of(folder, judge, *, asks=("judge", "embeddings", "both")):
    scorers = ", ".join(f'"asks:{what}"' for what in asks)
    (folder / "suite.toml").write_text(f"scorers = [{scorers}]\n[judge]\n{judge}", "utf-8")
    (folder / "samples.jsonl").write_text('{"id": "a", "input": "?"}\n', "utf-8")
    return load_suite(folder)


def plans_of(folder, judge, **fields):
    return judge_plans(suite_of(folder, judge, **fields), JudgeChoices(), environ=ENVIRON)


def test_an_embedding_model_stands_at_the_endpoint_of_the_judge(tmp_path):
    judge, embeddings, both = plans_of(tmp_path, f'{JUDGE}embeddings = "text-embedding/3-small/v1"\n')
    assert (judge.judge.embeds, judge.embeddings) == (False, None)
    assert (embeddings.judge.embeds, embeddings.judge.steering) == (True, "flag")
    assert (both.judge.embeds, both.embeddings.judge) == (False, embeddings.judge)
    endpoint = embeddings.provider.endpoint
    assert (endpoint.model, endpoint.base_url, endpoint.key) == (
        "text-embedding-3-small",
        "http://judge.test/v1",
        "sk-judge",
    )
    assert embeddings.timeout_s == judge.timeout_s == 7.0


def test_the_judges_key_goes_nowhere_else(tmp_path):
    elsewhere = 'embeddings = { version = "e/1/v1", base-url = "http://else.test/v1", api-key-env = "OTHER_KEY" }\n'
    _, embeddings, _ = plans_of(tmp_path, JUDGE + elsewhere)
    assert embeddings.provider.endpoint.key == "sk-other"
    keyless = elsewhere.replace(', api-key-env = "OTHER_KEY"', "")
    with pytest.raises(ProviderConfigError, match="OPENAI_API_KEY is not set"):
        plans_of(tmp_path, JUDGE + keyless)


def test_a_suite_may_have_an_embedding_model_and_no_judge(tmp_path):
    only = 'embeddings = { version = "e/1/v1", api-key-env = "OTHER_KEY", parameters = { dimensions = 64 } }\n'
    [plan] = plans_of(tmp_path, only, asks=["embeddings"])
    assert (plan.judge.embeds, plan.judge.parameters) == (True, {"dimensions": 64})
    suite = suite_of(tmp_path, only)
    with pytest.raises(ConfigError, match="needs a judge"):
        scorers_of(suite, named_judges(suite))


def test_a_suite_without_an_embedding_model_says_how_to_name_one(tmp_path):
    with pytest.raises(ConfigError, match="needs an embedding model") as caught:
        plans_of(tmp_path, JUDGE)
    assert 'embeddings = "text-embedding/3-small/v1"' in caught.value.hint


def test_another_embedding_model_is_another_scorer(tmp_path):
    one, other = (plans_of(tmp_path, f'{JUDGE}embeddings = "e/{n}/v1"\n') for n in (1, 2))
    suite = suite_of(tmp_path, f'{JUDGE}embeddings = "e/1/v1"\n')
    before, after = ([scorer.spec for scorer in scorers_of(suite, plans)] for plans in (one, other))
    assert [mine == theirs for mine, theirs in zip(before, after, strict=True)] == [True, False, False]


def test_an_embedding_model_comes_back_from_the_spec():
    embeddings = fake_embeddings_identity()
    judge = fake_judge_identity(embeddings=embeddings)
    assert Judge.from_identity(embeddings.identity({})) == embeddings
    assert Judge.from_identity(judge.identity({}, embeds=True)) == judge
    assert Judge.from_identity(judge.identity({})).embeddings is None
    assert (
        Asks(ScorerSettings("asks", "both", judge=judge)).spec.judge["embeddings"]["version"] == "fake-embeddings/1/v1"
    )


def test_a_provider_of_ones_own_may_embed(tmp_path):
    own = FakeProvider({})
    given = {"version": "j/1/v1", "provider": FakeProvider({}), "embeddings": {"version": "e/1/v1", "provider": own}}
    suite = suite_of(tmp_path, "", asks=["embeddings"])
    [plan] = judge_plans(suite, JudgeChoices.of(given), environ={})
    assert plan.provider is own
    assert plan.judge.embeds
    named = JudgeChoices.of({**given, "embeddings": "e/1/v1", "provider": "openai", "api-key-env": "OTHER_KEY"})
    [plan] = judge_plans(suite, named, environ=ENVIRON)
    assert isinstance(plan.provider, OpenAIProvider)
