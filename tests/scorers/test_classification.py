import math
import re

import pytest
from sklearn.metrics import precision_recall_fscore_support

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Score, Unscored
from aigate.errors import ConfigError
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.scorers.classification import Confusion


def make(**options):
    return make_scorer(ScorerSettings("classification", options=options))


def read(output, **options):
    """The label read, or why there is none."""
    found = make(**options).score(Sample("s", "q", reference="x"), Response(output))
    return found.reason if isinstance(found, Unscored) else found.answer


YES_NO = {"labels": ["yes", "no"]}
PRIME = {"labels": ["prime", "not prime"]}


@pytest.mark.parametrize(
    ("output", "options", "label"),
    [
        ("Positive", {}, "positive"),
        (' "[Yes]." ', {}, "yes"),
        ("**Not  Prime**", {}, "not prime"),
        ("Positive", {"case": "keep"}, "Positive"),
        ("C++", {}, "c++"),
        (":)", {}, ":)"),
        ("[Yes]", YES_NO, "yes"),
        ("The answer is No.", YES_NO, "no"),
        ("no, no and NO", YES_NO, "no"),
        ("YES", {"labels": ["Yes", "No"]}, "Yes"),
        ("It is not prime.", PRIME, "not prime"),
        ("It is prime.", PRIME, "prime"),
        ("yes, then no", {**YES_NO, "position": "first"}, "yes"),
        ("yes, then no", {**YES_NO, "position": "last"}, "no"),
        ("Step 1\nAnswer: B", {"pattern": r"Answer: (\w)"}, "b"),
        ("Answer: A. Answer: B", {"pattern": r"Answer: (\w)", "position": "last"}, "b"),
        ("Answer: maybe. Answer: no", {"pattern": r"Answer: (\w+)", **YES_NO}, "no"),
        ("Use C++ here", {"labels": ["C", "C++"]}, "C++"),
    ],
)
def test_label_is_read(output, options, label):
    assert read(output, **options) == label


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("", {}),
        ("  ", {}),
        ("x" * 201, {}),
        ("perhaps", YES_NO),
        ("nobody knows yesterday", YES_NO),
        ("yes and no", YES_NO),
        ("YES", {**YES_NO, "case": "keep"}),
        ("no answer here", {"pattern": r"Answer: (\w)"}),
        ("Answer: A. Answer: B", {"pattern": r"Answer: (\w)"}),
        ("Answer: maybe", {"pattern": r"Answer: (\w+)", **YES_NO}),
        ("yes " + "x" * 100_000, YES_NO),
    ],
)
def test_output_without_one_label_is_unparseable(output, options):
    assert read(output, **options) == "unparseable"


def test_score_compares_label_and_reference():
    scorer = make(**YES_NO)
    right = scorer.score(Sample("s", "q", reference="[Yes]"), Response("Yes!"))
    wrong = scorer.score(Sample("s", "q", reference="[Yes]"), Response("No!"))
    assert (right.value, wrong.value) == (1.0, 0.0)
    assert wrong.explanation.startswith("got 'no', expected 'yes'; read from 'No!'")


def test_references_may_be_numbers_and_booleans():
    assert make().score(Sample("s", "q", reference=3), Response("3")).value == 1.0
    assert make().score(Sample("s", "q", reference=True), Response("True")).value == 1.0


def test_reference_outside_the_labels_is_wrong_and_says_so():
    found = make(**YES_NO).score(Sample("s", "q", reference="maybe"), Response("yes"))
    assert found.value == 0.0
    assert "'maybe', which is not among the labels" in found.explanation


def test_reference_with_several_labels_lies_outside():
    assert make().applies_to(Sample("s", "q", reference=["a", "b"])).reason == "not_applicable"
    assert make().applies_to(Sample("s", "q", reference=["a"])) is None


@pytest.mark.parametrize("twins", [["Yes", "yes"], ["[a]", "a"], ["not  prime", "not prime"]])
def test_labels_that_read_the_same_are_refused(twins):
    with pytest.raises(ConfigError, match="read the same"):
        make(labels=twins)


def test_labels_that_differ_in_case_are_two_when_case_is_kept():
    assert read("Yes", labels=["Yes", "yes"], case="keep") == "Yes"


@pytest.mark.parametrize("wrong", [{"position": "middle"}, {"pattern": "no group"}, {"labels": []}, {"case": "lower"}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ConfigError, match="classification"):
        make(**wrong)


def rows(*pairs):
    """Pairs of reference and what became of the answer: a label, None for a fault, or an Unscored."""
    return [
        (
            Sample(str(i), "q", reference=truth),
            said if isinstance(said, Unscored) else Score(float(said == truth), "", answer=said),
        )
        for i, (truth, said) in enumerate(pairs)
    ]


def test_over_run_equals_scikit_learn():
    pairs = [("a", "a"), ("a", "b"), ("b", "b"), ("b", "b"), ("c", "a"), ("c", "c")]
    numbers = make().over_run(rows(*pairs))
    truths, answers = zip(*pairs, strict=True)
    for average, label in [("macro", "_macro")]:
        expected = precision_recall_fscore_support(truths, answers, average=average)
        assert [numbers[name + label] for name in ("precision", "recall", "f1")] == pytest.approx(expected[:3])
    per_class = precision_recall_fscore_support(truths, answers, labels=["a", "b", "c"])
    for name, values in zip(("precision", "recall", "f1"), per_class, strict=False):
        assert [numbers[f"{name}[{label}]"] for label in "abc"] == pytest.approx(list(values))
    assert numbers["accuracy"] == pytest.approx(4 / 6)
    assert len(numbers) == 13


def test_fault_counts_as_a_wrong_answer_of_no_class():
    numbers = make().over_run(rows(("a", "a"), ("a", None), ("b", "b")))
    assert numbers["recall[a]"] == 0.5
    assert numbers["precision[a]"] == 1.0
    assert numbers["accuracy"] == pytest.approx(2 / 3)
    assert not any("none" in name for name in numbers)


def test_class_named_like_the_pseudo_class_is_not_answered_by_a_fault():
    numbers = make().over_run(rows(("(none)", None), ("b", "b")))
    assert numbers["accuracy"] == 0.5
    assert numbers["recall[none]"] == 0.0


def test_unparseable_is_wrong_and_other_missing_scores_are_passed_over():
    numbers = make().over_run(
        rows(("a", "a"), ("a", Unscored("unparseable")), ("a", Unscored("judge_error")), ("b", Unscored("not_run")))
    )
    assert numbers["accuracy"] == 0.5
    assert "recall[b]" not in numbers


def test_undefined_numbers_are_left_out_and_count_as_the_worst_in_the_macro_mean():
    numbers = make(labels=["a", "b", "c"]).over_run(rows(("a", "a"), ("b", "a")))
    assert "precision[b]" not in numbers
    assert numbers["recall[b]"] == 0.0
    assert numbers["f1[b]"] == 0.0
    assert not any(name.endswith("[c]") for name in numbers)
    assert numbers["precision_macro"] == 0.25  # (1/2 of a + nothing of b) / 2: always saying "a" is not precise
    assert numbers["recall_macro"] == 0.5
    assert all(math.isfinite(number) for number in numbers.values())


def test_nothing_predicted_is_the_worst_macro_precision():
    numbers = make().over_run(rows(("a", None), ("b", None)))
    assert numbers["precision_macro"] == 0.0
    assert "precision[a]" not in numbers
    assert (numbers["recall_macro"], numbers["f1_macro"], numbers["accuracy"]) == (0.0, 0.0, 0.0)


def test_over_nothing_there_are_no_numbers():
    assert make().over_run([]) == {}
    assert make().over_run([(Sample("s", "q"), Score(0.0))]) == {}


def test_names_of_run_numbers_do_not_change_with_the_metric():
    assert make(metric="topic").run_metrics == ("accuracy", "precision_macro", "recall_macro", "f1_macro")
    assert make(metric="topic").over_run(rows(("a", "a"))) == make().over_run(rows(("a", "a")))


def test_confusion_counts_every_answer_once():
    scorer = make(labels=["a", "b"])
    found = scorer.confusion(rows(("a", "a"), ("a", "b"), ("b", None), ("b", "b"), ("d", "b"), ("b", "z")))
    assert found == Confusion(("a", "b", "d", "(none)", "(other)"), ((1, 1, 0, 0, 0), (0, 1, 0, 1, 1), (0, 1, 0, 0, 0)))


def test_confusion_without_faults_is_square():
    assert make().confusion(rows(("a", "a"), ("b", "a"))) == Confusion(("a", "b"), ((1, 0), (1, 0)))


def test_scores_read_back_from_a_run_give_the_same_numbers():
    scorer = make(**YES_NO)
    samples = [Sample("1", "q", reference="Yes"), Sample("2", "q", reference="[No]"), Sample("3", "q", reference="no")]
    scores = [scorer.score(sample, Response(text)) for sample, text in zip(samples, ("YES", "no.", "yes"), strict=True)]
    numbers = scorer.over_run(list(zip(samples, scores, strict=True)))
    assert numbers["accuracy"] == pytest.approx(2 / 3)
    assert re.fullmatch(r"0\.5|0\.50*", str(numbers["recall[no]"]))
