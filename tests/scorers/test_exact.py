import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core.response import Response
from aigate.core.sample import Sample
from aigate.core.score import Unscored
from aigate.errors import ConfigError
from aigate.scorers.base import ScorerSettings, make_scorer
from aigate.scorers.exact import Normalisation


def value(output, reference, *, scorer="exact_match", **options):
    options = {name.replace("_", "-"): option for name, option in options.items()}
    found = make_scorer(ScorerSettings(scorer, options=options)).score(
        Sample("s", "q", reference=reference), Response(output)
    )
    return found.reason if isinstance(found, Unscored) else found.value


@pytest.mark.parametrize(
    ("output", "reference", "options"),
    [
        (" Paris\n", "Paris", {}),
        ("pARIS", "Paris", {"case": "fold"}),
        ("STRASSE", "straße", {"case": "fold"}),
        ("New  \n York", "New York", {"space": "fold"}),
        ("Yes!", "yes", {"case": "fold", "punctuation": "drop"}),
        ("¿Sí?", "Sí", {"punctuation": "drop"}),
        ("The Eiffel Tower", "Eiffel Tower", {"articles": "drop"}),
        ("cafe\u0301", "caf\u00e9", {}),
        ("\ufb01ne", "fine", {"unicode": "NFKC"}),
        ("Sure:\n```\nParis\n```", "Paris", {"strip_fence": True}),
        ("18", 18, {}),
        ("true", True, {}),
        ("yep", ["yes", "yep"], {}),
        ("18.0", 18, {"number_tolerance": 0}),
        ("1,000", "1000", {"number_tolerance": 0}),
        ("1.1", "1.0", {"number_tolerance": 0.1}),
        ("```\n18.0\n```", 18, {"number_tolerance": 0, "strip_fence": True}),
        ("", "", {}),
    ],
)
def test_exact_match_holds(output, reference, options):
    assert value(output, reference, **options) == 1.0


@pytest.mark.parametrize(
    ("output", "reference", "options"),
    [
        ("paris", "Paris", {}),
        ("Paris.", "Paris", {}),
        (" Paris", "Paris", {"space": "keep"}),
        ("New  York", "New York", {}),
        ("The Eiffel Tower", "Eiffel Tower", {}),
        ("theory", "ory", {"articles": "drop"}),
        ("cafe\u0301", "caf\u00e9", {"unicode": "keep"}),
        ("\ufb01ne", "fine", {}),
        ("```\nParis\n```", "Paris", {}),
        ("18.0", 18, {}),
        ("True", True, {}),
        ("nope", ["yes", "yep"], {}),
        ("1.1000001", "1.0", {"number_tolerance": 0.1}),
        ("18 eggs", 18, {"number_tolerance": 1}),
        ("x", "Paris", {"number_tolerance": 1e9}),
        ("```\n18.0\n```", 18, {"number_tolerance": 0}),
        ("x", "", {}),
    ],
)
def test_exact_match_fails(output, reference, options):
    assert value(output, reference, **options) == 0.0


REFERENCE = {"city": "Paris", "n": [1, True, None], "deep": {"x": 0.5}}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('{"n": [1.0, true, null], "deep": {"x": 0.5}, "city": "Paris"}', 1.0),
        ('{"n": [true, true, null], "deep": {"x": 0.5}, "city": "Paris"}', 0.0),
        ('{"n": [1, 1, null], "deep": {"x": 0.5}, "city": "Paris"}', 0.0),
        ('{"n": [1, true], "deep": {"x": 0.5}, "city": "Paris"}', 0.0),
        ('{"n": [1, true, null], "deep": {"x": 0.5}, "city": "Paris", "more": 1}', 0.0),
        ('{"n": [1, true, null], "deep": {}, "city": "Paris"}', 0.0),
        ('{"n": [1, true, null], "deep": {"x": 0.5}, "city": "paris"}', 0.0),
        ("[]", 0.0),
        ("Paris", "unparseable"),
        ('{"city": "Rome", "city": "Paris"}', "unparseable"),
        ("```json\n{}\n```", "unparseable"),
    ],
)
def test_object_reference_is_compared_as_json(output, expected):
    assert value(output, REFERENCE) == expected


def test_object_in_a_fence_is_read_when_asked():
    assert value('```json\n{"a": 1}\n```', {"a": 1}, strip_fence=True) == 1.0


def test_list_that_is_not_all_strings_is_a_json_value():
    assert value("[1, 2]", [1, 2]) == 1.0
    assert value("1", [1, 2]) == 0.0
    assert value("[]", []) == 1.0
    assert value("", []) == "unparseable"


def test_json_difference_names_the_path():
    scorer = make_scorer(ScorerSettings("exact_match"))
    found = scorer.score(Sample("s", "q", reference=REFERENCE), Response('{"n":[1,2,null],"deep":{},"city":"Paris"}'))
    assert found.explanation.startswith("$.deep lacks the key 'x'")


def test_explanation_says_got_and_expected_and_stays_short():
    scorer = make_scorer(ScorerSettings("exact_match"))
    found = scorer.score(Sample("s", "q", reference="Paris"), Response("Rome" * 1000))
    assert found.explanation.startswith("got 'RomeRome")
    assert found.explanation.endswith("expected 'Paris'")
    assert len(found.explanation) < 400


@pytest.mark.parametrize(
    ("output", "reference", "options", "expected"),
    [
        ("The answer is 18.", 18, {}, 1.0),
        ("118", "18", {}, 0.0),
        ("180", "18", {}, 0.0),
        ("18.5", "18", {}, 0.0),
        ("1,018", "018", {}, 0.0),
        ("1, 18, 3", "18", {}, 1.0),
        ("118", "18", {"anywhere": True}, 1.0),
        ("first 118 then 18", "18", {}, 1.0),
        ("Parisian", "Paris", {}, 0.0),
        ("(Paris)", "Paris", {}, 1.0),
        ("[Yes]", "[Yes]", {}, 1.0),
        ("x[Yes]y", "[Yes]", {}, 1.0),
        ("in PARIS.", "paris", {"case": "fold"}, 1.0),
        ("in PARIS.", "paris", {}, 0.0),
        ("New\nYork", "New York", {"space": "fold"}, 1.0),
        ("I say yep", ["yes", "yep"], {}, 1.0),
        ("I say no", ["yes", "yep"], {}, 0.0),
        ("", "Paris", {}, 0.0),
        ("no Rome, no", {"a": 1}, {}, "not_applicable"),
        ("anything", "", {}, "no_reference"),
        ("anything", "the", {"articles": "drop"}, "no_reference"),
        ("anything", ["ok", "..."], {"punctuation": "drop"}, "no_reference"),
    ],
)
def test_includes(output, reference, options, expected):
    assert value(output, reference, scorer="includes", **options) == expected


def test_empty_reference_lies_outside_includes_before_any_answer():
    scorer = make_scorer(ScorerSettings("includes"))
    assert scorer.applies_to(Sample("s", "q", reference=" ")).reason == "no_reference"


def test_false_and_zero_are_references():
    scorer = make_scorer(ScorerSettings("exact_match"))
    assert scorer.applies_to(Sample("s", "q", reference=False)) is None
    assert value("false", False) == 1.0
    assert value("0", 0) == 1.0


@pytest.mark.parametrize("wrong", [{"case": "lower"}, {"strip-fence": 1}, {"number-tolerance": -1}, {"anywhere": True}])
def test_exact_match_refuses_wrong_options(wrong):
    with pytest.raises(ConfigError, match="exact_match"):
        make_scorer(ScorerSettings("exact_match", options=wrong))


@given(
    st.text(alphabet=st.characters(exclude_categories=())),
    st.sampled_from(["keep", "fold"]),
    st.sampled_from(["keep", "strip", "fold"]),
    st.sampled_from(["keep", "drop"]),
    st.sampled_from(["keep", "drop"]),
)
def test_every_text_matches_itself_however_it_is_normalised(text, case, space, punctuation, articles):
    options = {"case": case, "space": space, "punctuation": punctuation, "articles": articles}
    assert value(text, text, **options) == 1.0


def test_normalisation_follows_the_documented_order():
    whole = Normalisation(case="fold", punctuation="drop", articles="drop", space="fold")
    assert whole.of("  A.M. the\tAnswer -- is: 'An' Apple ") == "am answer is apple"
