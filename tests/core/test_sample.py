"""Sample: one golden case, exactly as the file has it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigate.core.sample import Sample

JSON = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=5,
)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": st.text()})
SAMPLES = st.builds(
    Sample,
    id=st.text(min_size=1),
    input=st.text() | st.lists(MESSAGE, min_size=1, max_size=3).map(tuple),
    reference=st.none() | JSON,
    contexts=st.lists(st.text(), max_size=3).map(tuple),
    tags=st.lists(st.text(), max_size=3).map(tuple),
    group=st.none() | st.text(),
    metadata=st.dictionaries(st.text(), JSON, max_size=3),
)

FULL = Sample("a", "why?", "because", ("context",), ("tag",), "group", {"k": 1})


@given(SAMPLES)
def test_a_sample_round_trips_with_its_digest(sample):
    back = Sample.from_dict(sample.to_dict())
    assert back == sample
    assert back.digest == sample.digest


def test_fields_at_their_default_are_left_out_and_the_others_are_in_the_order_of_the_file():
    assert Sample("a", "why?").to_dict() == {"id": "a", "input": "why?"}
    assert list(FULL.to_dict()) == ["id", "input", "reference", "contexts", "tags", "group", "metadata"]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "b"},
        {"input": "why? "},
        {"input": ({"role": "user", "content": "why?"},)},
        {"reference": None},
        {"reference": 1},
        {"contexts": ()},
        {"tags": ("tag", "tag")},
        {"group": None},
        {"metadata": {"k": 1.0}},
    ],
)
def test_every_field_is_in_the_digest(change):
    assert replace(FULL, **change).digest != FULL.digest


@pytest.mark.parametrize("reference", [False, 0, "", [], {}])
def test_a_falsy_reference_is_a_reference(reference):
    sample = Sample("a", "?", reference)
    assert "reference" in sample.to_dict()
    assert Sample.from_dict(sample.to_dict()).reference == reference


def test_the_unit_is_the_group_or_the_sample_and_they_never_meet():
    assert Sample("a", "?").unit == "sample:a"
    assert Sample("a", "?", group="").unit == "group:"
    assert Sample("b", "?", group="a").unit != Sample("a", "?").unit


def test_the_text_of_a_chat_is_the_text_of_its_messages():
    parts = [{"type": "text", "text": "two"}, {"type": "image_url", "image_url": {"url": "x"}}, {"type": "text"}]
    sample = Sample("a", ({"role": "user", "content": "one"}, {"role": "user", "content": parts}, {"role": "tool"}))
    assert sample.text == "one\n\ntwo\n\n"
    assert Sample("a", "as it is ").text == "as it is "
