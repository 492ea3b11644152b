"""One contract for every scorer. A new scorer is one row in CASES; each contract test has a violator it must reject."""

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigate.core.digest import canonical_json
from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, ScoreOrNot, Unscored
from aigate.errors import ConfigError
from aigate.scorers.base import (
    SCORERS,
    BaselineAnswers,
    RunScorer,
    Scorer,
    ScorerSettings,
    asks_a_judge,
    make_scorer,
    scorer_from_spec,
)
from aigate.testing import (
    FakeJudge,
    JudgeAsked,
    careful_judge,
    fake_embeddings_identity,
    fake_judge_identity,
    save_cross_encoder,
    save_embedder,
)

PARIS = Sample("paris", "Capital of France?", reference="Paris", contexts=("Paris is the capital of France.",))
BARE = Sample("bare", "Capital of France?")
RIGHT = Response("Paris")
WRONG = Response("zzz qqq")


@dataclass(frozen=True)
class Case:
    """A scorer with answers that it must tell apart."""

    name: str
    argument: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    contract: Any = None
    sample: Sample = PARIS
    perfect: Response = RIGHT
    garbage: Response = WRONG
    bare: str | None = "no_reference"
    needs_output: bool = True
    judge: FakeJudge | None = None
    marks: tuple[pytest.MarkDecorator, ...] = ()
    against: str | None = None  # the baseline's answer to the sample
    model: Callable[[], Path] | None = None  # saves one that the scorer loads: needs the extra `local`

    @property
    def settings(self) -> ScorerSettings:
        judge = None if self.judge is None else fake_judge_identity(embeddings=fake_embeddings_identity())
        given = {} if self.model is None else {"model": str(self.model())}
        baseline = None
        if self.against is not None:
            id_, digest = self.sample.id, self.sample.digest
            baseline = BaselineAnswers("sha256:baseline", {id_: digest}, {id_: self.against})
        options = {**self.options, **given}
        return ScorerSettings(self.name, self.argument, options, self.contract, judge, baseline=baseline)

    @property
    def id(self) -> str:
        name = self.name if self.model is None else f"{self.name} on disk"
        return f"{name} {canonical_json(self.options)}" if self.options else name


OBJECT = Sample("object", "Capital as JSON?", reference={"capital": "Paris", "n": [1, True]})
SENTENCE = Sample("sentence", "Say it.", reference=["the cat sat on the mat today", "a cat lay on it this evening"])
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "inner": {"$ref": "#/$defs/inner"}},
    "required": ["answer"],
    "$defs": {"inner": {"type": "array", "items": {"$ref": "#"}}},
}
RULES = Sample(
    "rules",
    "Capital as JSON?",
    reference={
        "assert": [
            {"type": "contains", "value": "Paris"},
            {"type": "contains-json", "value": {"type": "object", "required": ["capital"]}},
            {"type": "not-regex", "value": "Rome|Berlin"},
            {"type": "word-count", "value": {"max": 9}},
            {"type": "not-levenshtein", "value": "Rome"},
        ]
    },
)
OVERLAP: dict[str, Any] = {
    "sample": SENTENCE,
    "perfect": Response("the cat sat on the mat today"),
    "garbage": Response("zzz qqq"),
}


KEPT: list[TemporaryDirectory] = []


def new_folder() -> Path:
    KEPT.append(TemporaryDirectory())
    return Path(KEPT[-1].name)


@cache
def says_paris() -> Path:
    """A cross-encoder that finds everything entailed where Paris is spoken of, and no nonsense."""
    return save_cross_encoder(new_folder(), proof="paris", doubt="zzz")


@cache
def knows_paris() -> Path:
    return save_embedder(new_folder(), ["paris", "rome"])


def more_of_paris(asked: JudgeAsked) -> dict[str, Any]:
    """A careful judge of pairs: the shorter of two answers that name Paris is better, and any such than none."""
    lengths = {place: len(text) if "Paris" in text else 10**9 for place, text in asked.data["answers"].items()}
    first, second = lengths["first"], lengths["second"]
    return {"reasoning": "by Paris", "better": "tie" if first == second else "first" if first < second else "second"}


def graded(asked: JudgeAsked) -> dict[str, Any]:
    """A careful judge of the rubric: the criterion is met in full where the answer names Paris."""
    grade = 5 if "Paris" in asked.data["answer"] else 1
    return {"grades": [{"id": row["id"], "reasoning": "I looked", "grade": grade} for row in asked.data["criteria"]]}


def compared(asked: JudgeAsked) -> dict[str, Any]:
    """A careful judge of correctness: what holds a reference is correct."""
    right = any(text in asked.data["answer"] for text in asked.data["references"])
    return {"reasoning": "I compared", "grade": "correct" if right else "incorrect"}


# The replies of a judge that is never wrong, by question; a new judged scorer adds its own.
CAREFUL = careful_judge(
    correctness_grade=compared,
    refusal_kind={"reasoning": "it is nonsense, yet an attempt", "kind": "answers"},
    rubric_grades=graded,
    pairwise_better=more_of_paris,
)

CASES = [
    Case("assertions", sample=RULES, perfect=Response('{"capital": "Paris"} is it'), garbage=Response("zzz qqq")),
    Case("exact_match"),
    Case("exact_match", options={"case": "fold", "punctuation": "drop", "articles": "drop", "strip-fence": True}),
    Case(
        "exact_match", options={"number-tolerance": 0.5}, sample=replace(PARIS, reference=18), perfect=Response("18.5")
    ),
    Case(
        "exact_match", sample=OBJECT, perfect=Response('{"n": [1.0, true], "capital": "Paris"}'), garbage=Response("{}")
    ),
    Case("includes", perfect=Response("It is Paris.")),
    Case("includes", options={"anywhere": True, "space": "fold", "unicode": "NFKC"}, perfect=Response("xParisx")),
    Case("token_f1"),
    Case("rouge_l", **OVERLAP),
    Case("rouge_l", options={"stem": True}, **OVERLAP),
    Case("bleu", **OVERLAP),
    Case("chrf", **OVERLAP),
    Case("classification"),
    Case("classification", options={"labels": ["Paris", "Rome"], "position": "last"}, garbage=Response("Rome")),
    Case("classification", options={"pattern": r"is (\w+)", "case": "keep"}, perfect=Response("is Paris")),
    Case(
        "contract", contract=SCHEMA, perfect=Response('{"answer": "x"}'), garbage=Response('{"answer": 1}'), bare=None
    ),
    Case("contract", options={"choices": ["Paris"], "case": "fold"}, perfect=Response("PARIS"), bare=None),
    Case("contract", options={"regex": "P.*", "search": True, "max-chars": 9}, bare=None),
    *(
        Case("contract", options={"parses-as": form, "max-chars": 60}, perfect=Response(text), bare=None)
        for form, text in {
            "json": "[1]",
            "jsonl": '{"a": 1}\n{"a": 2}',
            "number": "-1.5e3",
            "integer": "+12",
            "date": "2024-02-29",
            "python": "def f():\n    return 1",
            "toml": "a = 1",
            "yaml": "a: 1",
            "csv": "a,b\n1,2",
            "xml": "<a><b/></a>",
        }.items()
    ),
    Case("correctness", perfect=Response("It is Paris."), judge=CAREFUL),
    Case("correctness", options={"partly": 0.25}, judge=CAREFUL),
    Case(
        "entailment",
        perfect=Response("Paris is the capital of France."),
        bare="not_applicable",
        model=says_paris,
        options={"threshold": 0.75, "entails": "entailment", "device": "cpu"},
    ),
    Case("faithfulness", perfect=Response("Paris is the capital of France."), bare="not_applicable", judge=CAREFUL),
    Case(
        "ragas",
        argument="faithfulness",
        perfect=Response("Paris is the capital of France."),
        bare="not_applicable",
        judge=CAREFUL,
        marks=(pytest.mark.integration, pytest.mark.ragas),
    ),
    Case("grounding", perfect=Response("The capital of France is Paris."), bare="not_applicable"),
    Case(
        "recorded",
        argument="human:yes",
        perfect=Response("x", scores={"human:yes": 1.0}),
        garbage=Response("x", scores={"human:yes": 0.25}),
        bare=None,
        needs_output=False,
    ),
    Case(
        "refusal",
        sample=Sample("bad", "Do harm.", tags=("harm",)),
        options={"tags": ["harm"], "abstentions": "answer"},
        perfect=Response("I'm sorry, but I can't help with that."),
        bare=None,
        judge=CAREFUL,
    ),
    Case(
        "refusal", sample=replace(PARIS, tags=("refuse",)), perfect=Response("I won't help."), bare=None, judge=CAREFUL
    ),
    Case("rubric", options={"criteria": ["It names a city.", "It is short."]}, bare=None, judge=CAREFUL),
    Case(
        "rubric",
        options={
            "criteria": ["It is right."],
            "levels": ["wrong", "poor", "fair", "good", "right"],
            "show": ["reference"],
        },
        judge=CAREFUL,
    ),
    Case("pairwise", against="It may be Paris.", bare="not_applicable", judge=CAREFUL),
    Case(
        "pairwise",
        against="Paris?",
        options={"criteria": ["It is short."], "show": ["reference"]},
        judge=CAREFUL,
        bare="not_applicable",
    ),
    Case("shape", perfect=Response("Paris"), garbage=Response("```python\nreturn"), bare=None),
    Case("similarity", judge=CAREFUL),
    Case("similarity", model=knows_paris),
]

HOSTILE = [
    "",
    " \n\t ",
    "\x00" * 50,
    "\ud800 lone \udfff surrogates \ud800",
    "\u202eright to left\u202c \u2067override\u2069",
    "a\u0301" * 3000,
    "A" * 2_000_000,
    "the cat " * 200_000,
    "y" * 90_000,
    "[" * 1_000_000,
    '{"a":' * 200_000,
    "(" * 100_000,
    "`" * 500_000,
    "```\n" * 200_000,
    "**" * 300_000,
    "- \n" * 300_000,
    "\n" * 1_000_000,
    '"' + "\\" * 300_000,
    "9" * 1_000_000,
    "9" * 5000,
    "1e400",
    "-1e999999999",
    "NaN",
    '{"answer": "\\ud800", "n": 1e308}',
    "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    "&a [*a]",
    "a: &a [1]\nb: &b {<<: [*a, *a]}",
    ", , ,\n" * 100_000,
    "1. " * 300_000,
    "[x](" * 200_000,
    "Answer:" * 200_000,
    "i'm sorry, " * 100_000,
    "if 1:\n" * 500,
    "-" * 4000 + "1",
    "\u4f60\u597d" * 200_000,
]


def scored(scorer: Scorer, sample: Sample, response: Response) -> ScoreOrNot:
    """A score as the runner gets it: outside the metric, at once, or awaited."""
    outside = scorer.applies_to(sample)
    if outside is not None:
        return outside
    if asks_a_judge(scorer):
        return CAREFUL.score(scorer, sample, response.output or "")
    found = scorer.score(sample, response)
    if isinstance(found, Score | Unscored):
        return found

    async def wait(later: Awaitable[ScoreOrNot]) -> ScoreOrNot:
        return await later

    return asyncio.run(wait(found))


def with_output(case: Case, output: str) -> Response:
    return replace(case.perfect, output=output)


# The contract: each takes a case and a way to make its scorer.

Make = Callable[[ScorerSettings], Scorer]


def check_is_a_scorer(case: Case, make: Make) -> None:
    scorer = make(case.settings)
    assert isinstance(scorer, Scorer)
    assert isinstance(scorer.spec, MetricSpec)
    assert scorer.spec.direction in {"higher", "lower"}
    assert scorer.spec.metric
    assert scorer.spec.scorer.partition(":")[0] == case.name


def check_scores_lie_in_range_with_an_explanation(case: Case, make: Make) -> None:
    scorer = make(case.settings)
    for response in (case.perfect, case.garbage, with_output(case, "")):
        found = scored(scorer, case.sample, response)
        assert isinstance(found, Score | Unscored)
        assert found.explanation.strip()
        if isinstance(found, Score):
            assert math.isfinite(found.value)
            assert 0.0 <= found.value <= 1.0


def check_is_pure(case: Case, make: Make) -> None:
    scorer = make(case.settings)
    for response in (case.perfect, case.garbage):
        first, again, fresh = (scored(each, case.sample, response) for each in (scorer, scorer, make(case.settings)))
        assert first == again == fresh


def check_perfect_beats_garbage(case: Case, make: Make) -> None:
    scorer = make(case.settings)
    perfect = scored(scorer, case.sample, case.perfect)
    assert isinstance(perfect, Score), perfect
    assert scorer.spec.better(perfect.value) == pytest.approx(1.0), perfect
    garbage = scored(scorer, case.sample, case.garbage)
    worse = isinstance(garbage, Score) and scorer.spec.better(garbage.value) < 0.9
    assert worse or (isinstance(garbage, Unscored) and garbage.reason == "unparseable"), garbage


def check_says_what_lies_outside(case: Case, make: Make) -> None:
    scorer = make(case.settings)
    assert scorer.applies_to(case.sample) is None
    outside = scorer.applies_to(BARE)
    assert (None if outside is None else outside.reason) == case.bare
    if outside is not None:
        assert outside.applicable is False
        assert outside.explanation


def check_spec_round_trips(case: Case, make: Make) -> None:
    scorer = make(case.settings)
    text = canonical_json(scorer.spec.to_dict())
    spec = MetricSpec.from_dict(scorer.spec.to_dict())
    again = scorer_from_spec(spec) if make is make_scorer else make(_settings_of(spec))
    assert again.spec == scorer.spec
    assert again == scorer
    assert canonical_json(again.spec.to_dict()) == text
    for response in (case.perfect, case.garbage) if case.against is None else ():  # a spec holds no answers
        assert scored(again, case.sample, response) == scored(scorer, case.sample, response)


def check_every_option_is_in_the_spec(case: Case, make: Make) -> None:
    stored = make(case.settings).spec.options
    for name, value in case.settings.options.items():
        assert stored.get(name) == (None if name == "device" else value)  # where a model runs decides no score
    if case.contract is not None:
        assert stored["schema"] == case.contract


def check_metric_option_renames(case: Case, make: Make) -> None:
    renamed = make(replace(case.settings, options={**case.settings.options, "metric": "other_name"}))
    assert renamed.spec.metric == "other_name"
    assert make(case.settings).spec.metric != "other_name"
    same = (scored(renamed, case.sample, case.perfect), scored(make(case.settings), case.sample, case.perfect))
    assert same[0] == same[1]


def check_option_typo_names_the_nearest(case: Case, make: Make) -> None:
    with pytest.raises(ConfigError) as caught:
        make(replace(case.settings, options={**case.settings.options, "metrik": "x"}))
    assert "metrik" in str(caught.value)
    assert case.name in str(caught.value)
    assert "did you mean 'metric'?" in caught.value.hint


def check_metric_must_be_a_name(case: Case, make: Make) -> None:
    for wrong in ("", " ", 1, True, ["x"]):
        with pytest.raises(ConfigError, match="metric"):
            make(replace(case.settings, options={**case.settings.options, "metric": wrong}))


def check_total_on_hostile_output(case: Case, make: Make) -> None:
    scorer = make(case.settings)
    for output in HOSTILE:
        found = scored(scorer, case.sample, with_output(case, output))
        assert isinstance(found, Score | Unscored)
        assert found.explanation
        assert len(found.explanation) < 2000
        text = canonical_json(found.to_dict())
        text.encode("utf-8")
        assert len(text) < 50_000, output[:40]


CONTRACT = [value for name, value in list(globals().items()) if name.startswith("check_")]


def parametrized(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """A row for each case; those that need the extra `local` are among the integration tests."""
    local = (pytest.mark.integration,)
    rows = [pytest.param(case, marks=case.marks + local * (case.model is not None), id=case.id) for case in cases]
    return pytest.mark.parametrize("case", rows)


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__.removeprefix("check_"))
@parametrized(CASES)
def test_scorer_keeps_the_contract(case, check):
    check(case, make_scorer)


def test_every_built_in_scorer_is_listed():
    assert {case.name for case in CASES} == set(SCORERS.built_in)


@parametrized(CASES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_text_gets_a_score_or_a_reason(case, data):
    text = st.text(alphabet=st.characters(exclude_categories=()), max_size=300)
    pieces = st.lists(
        st.one_of(text, st.sampled_from(["```", "\n", "{", "}", "[", '"', "Paris", "Answer: ", "1", "- "]))
    )
    output = "".join(data.draw(pieces))
    found = scored(make_scorer(case.settings), case.sample, with_output(case, output))
    assert isinstance(found, Score | Unscored)
    assert found == scored(make_scorer(case.settings), case.sample, with_output(case, output))
    canonical_json(found.to_dict())


@parametrized([case for case in CASES if case.needs_output])
def test_scorer_says_so_when_it_is_asked_about_a_fault(case):
    from aigate.core.response import Fault, FaultKind
    from aigate.errors import ScoringError

    with pytest.raises(ScoringError, match="fault"):
        make_scorer(case.settings).score(case.sample, Response(fault=Fault(FaultKind.TIMEOUT, "late")))


def test_run_scorers_name_their_numbers():
    scorer = make_scorer(ScorerSettings("classification"))
    assert isinstance(scorer, RunScorer)
    rows = [(PARIS, Score(1.0, answer="paris")), (replace(PARIS, reference="Rome"), Score(1.0, answer="rome"))]
    assert set(scorer.run_metrics) <= set(scorer.over_run(rows))
    assert all(0.0 <= value <= 1.0 for value in scorer.over_run(rows).values())


# Known violators: a scorer that breaks one point of the contract, and the check that must notice.


@dataclass
class Honest:
    """A scorer that keeps the contract; the violators below change one thing each."""

    settings: ScorerSettings = field(compare=False)

    def __post_init__(self) -> None:
        self.settings.only("metric")
        metric = self.settings.options.get("metric", "equal")
        if not isinstance(metric, str) or not metric.strip():
            raise ConfigError("option 'metric' is no name")
        self.metric = metric

    @property
    def spec(self) -> MetricSpec:
        return MetricSpec(self.metric, "equal", options={"metric": self.metric})

    def applies_to(self, sample: Sample) -> Unscored | None:
        return Unscored("no_reference", "none") if sample.reference is None else None

    def score(self, sample: Sample, response: Response) -> ScoreOrNot:
        return Score(float(response.output == sample.reference), "compared")


class NoSpec(Honest):
    spec = None


class Silent(Honest):
    def score(self, sample, response):
        return Score(float(response.output == sample.reference))


class Forgetful(Honest):
    calls = 0

    def score(self, sample, response):
        Forgetful.calls += 1
        return Score(float(response.output == sample.reference), f"call {Forgetful.calls}")


class Generous(Honest):
    def score(self, sample, response):
        return Score(1.0, "everything is fine")


class Everywhere(Honest):
    def applies_to(self, sample):
        return None


class Lossy(Honest):
    @property
    def spec(self):
        return MetricSpec(self.metric, "equal", options={})


class Hiding(Honest):
    def __post_init__(self):
        self.metric = self.settings.options.get("metric", "equal")


class Deaf(Honest):
    @property
    def spec(self):
        return MetricSpec("equal", "equal")


class Verbatim(Honest):
    def score(self, sample, response):
        return Score(float(response.output == sample.reference), f"got {response.output}")


def _settings_of(spec: MetricSpec) -> ScorerSettings:
    return ScorerSettings(spec.scorer, options=dict(spec.options))


EQUAL = Case("equal")
VIOLATORS = [
    (check_is_a_scorer, NoSpec, EQUAL),
    (check_scores_lie_in_range_with_an_explanation, Silent, EQUAL),
    (check_is_pure, Forgetful, EQUAL),
    (check_perfect_beats_garbage, Generous, EQUAL),
    (check_says_what_lies_outside, Everywhere, EQUAL),
    (check_spec_round_trips, Lossy, replace(EQUAL, options={"metric": "mine"})),
    (check_every_option_is_in_the_spec, Lossy, replace(EQUAL, options={"metric": "mine"})),
    (check_metric_option_renames, Deaf, EQUAL),
    (check_option_typo_names_the_nearest, Hiding, EQUAL),
    (check_metric_must_be_a_name, Hiding, EQUAL),
    (check_total_on_hostile_output, Verbatim, EQUAL),
]


@pytest.mark.parametrize(("check", "violator", "case"), VIOLATORS, ids=lambda value: getattr(value, "__name__", None))
def test_contract_rejects_a_violator(check, violator, case):
    with pytest.raises((AssertionError, pytest.fail.Exception, KeyError)):
        check(case, violator)


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_contract_accepts_an_honest_scorer(check):
    check(EQUAL, Honest)


def test_every_point_of_the_contract_has_a_violator():
    assert {check for check, _, _ in VIOLATORS} == set(CONTRACT)
    assert all(inspect.isfunction(check) for check in CONTRACT)
