"""VersionId: parsing from the right, what changed, and the forms it takes in labels, tags and the environment."""

import hashlib
import re
from itertools import product

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from aigate.core.version import Change, VersionId
from aigate.errors import VersionIdError

KUBERNETES_LABEL = re.compile(r"[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?")
OCI_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
SHELL_WORD = re.compile(r"[A-Za-z0-9._/:@+%-]+")

# Characters that the encodings treat in different ways, so that two versions come close to one label.
ADVERSARIAL = st.text(st.sampled_from("ab0_.-h%+:@~é😀A"), min_size=1, max_size=12)
LONG = st.text(st.sampled_from("ab0_.-"), min_size=20, max_size=90)
HASH_LIKE = st.from_regex(r"v?[a-z]{0,3}\.h[0-9a-f]{11,13}", fullmatch=True)
ANYTHING = st.text(st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"], exclude_characters="/"), min_size=1)
PIECE = (ADVERSARIAL | LONG | HASH_LIKE | ANYTHING).filter(lambda text: text not in {".", ".."})
MODEL = st.lists(PIECE, min_size=1, max_size=3).map("/".join)
VERSIONS = st.builds(VersionId, MODEL, PIECE, PIECE)


@pytest.mark.parametrize(
    ("text", "model", "provider_version", "prompt_version"),
    [
        ("gpt-4o/2024-11-20/v3", "gpt-4o", "2024-11-20", "v3"),
        ("meta-llama/Llama-3-8B/2024-07/v3", "meta-llama/Llama-3-8B", "2024-07", "v3"),
        ("a/b/c/d/e", "a/b/c", "d", "e"),
        ("claude:beta@x/1+2/v3", "claude:beta@x", "1+2", "v3"),
    ],
)
def test_text_is_parsed_from_the_right(text, model, provider_version, prompt_version):
    version = VersionId.parse(text)
    assert (version.model, version.provider_version, version.prompt_version) == (
        model,
        provider_version,
        prompt_version,
    )
    assert str(version) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gpt-4o",
        "gpt-4o/v3",
        "/1/v3",
        "m//v3",
        "m/1/",
        "//",
        "m//1/v3",
        "/m/1/v3",
        "m m/1/v3",
        "m/1 /v3",
        "m/1/v\t3",
        "m/1/v3\n",
        "m/1/v\u00a03",
        "m/1/\u2028",
        "m/1/\x00",
        "m/1/\x7f",
        "m/../v3",
        "../1/v3",
        "a/../1/v3",
        "m/1/..",
        "m/./v3",
        "m\ud800/1/v3",
        "m/1/\udfff",
    ],
)
def test_bad_text_is_refused_with_an_example_of_good_text(text):
    with pytest.raises(VersionIdError, match="is no version") as caught:
        VersionId.parse(text)
    assert "gpt-4o/2024-11-20/v3" in caught.value.hint
    assert isinstance(caught.value, ValueError)


def test_too_few_parts_are_counted_and_a_bad_part_is_named():
    with pytest.raises(VersionIdError, match="2 of 3 parts"):
        VersionId.parse("gpt-4o/v3")
    with pytest.raises(VersionIdError, match="provider version is ''"):
        VersionId.parse("m//v3")
    with pytest.raises(VersionIdError, match="prompt version is 'v 3'"):
        VersionId.parse("m/1/v 3")
    with pytest.raises(VersionIdError, match="model is 'a b'"):
        VersionId.parse("a b/1/v3")


@pytest.mark.parametrize("changed", list(product([False, True], repeat=3)))
def test_change_names_the_parts_that_differ(changed):
    names = ("model", "provider_version", "prompt_version")
    earlier = VersionId("m", "1", "v1")
    later = VersionId(*(f"{old}x" if new else old for old, new in zip(("m", "1", "v1"), changed, strict=True)))
    change = later.change_from(earlier)
    assert change.parts == tuple(name for name, new in zip(names, changed, strict=True) if new)
    assert change.breaking is (changed[0] or changed[1])
    assert bool(change) is any(changed)
    assert earlier.change_from(later) == change


def test_change_in_words():
    assert str(Change(())) == "nothing changed"
    assert str(Change(("prompt_version",))) == "prompt version changed (not breaking)"
    assert str(Change(("model", "prompt_version"))) == "model and prompt version changed (breaking)"


@given(VERSIONS)
def test_text_round_trips(version):
    assert VersionId.parse(str(version)) == version


@given(VERSIONS)
def test_label_is_a_kubernetes_label_and_tag_is_an_oci_tag(version):
    assert KUBERNETES_LABEL.fullmatch(version.label)
    assert len(version.label) <= 63
    assert OCI_TAG.fullmatch(version.tag)
    assert len(version.tag) <= 128


@given(VERSIONS)
@example(VersionId("~root", "1", "v1"))
@example(VersionId("m%41", "100%", "v+1:2@3"))
@example(VersionId("modèle😀", "1", "v1"))
def test_environment_form_round_trips_and_needs_no_quoting(version):
    assert SHELL_WORD.fullmatch(version.env)
    assert VersionId.from_env(version.env) == version


def test_environment_form_leaves_an_ordinary_version_as_it_is():
    version = VersionId("meta-llama/Llama-3:8b@x+y", "2024-11-20", "v3")
    assert version.env == str(version)


@pytest.mark.parametrize("text", ["m/1/v%33", "m/1/é", "m/1/v~", "m/1/%FF", "m/1/%20"])
def test_text_that_was_not_made_by_env_is_refused(text):
    with pytest.raises(VersionIdError):
        VersionId.from_env(text)


@given(VERSIONS)
def test_label_is_read_back_or_says_that_it_carries_a_hash(version):
    for encoded in (version.label, version.tag):
        if not re.search(r"\.h[0-9a-f]{12}$", encoded):
            assert VersionId.from_label(encoded) == version
            continue
        with pytest.raises(VersionIdError, match="carries a hash") as caught:
            VersionId.from_label(encoded)
        assert "matches" in caught.value.hint


def test_ordinary_label_is_readable_and_reversible():
    version = VersionId.parse("gpt-4o/2024-11-20/v3")
    assert version.label == version.tag == "gpt-4o_2024-11-20_v3"
    assert VersionId.from_label("gpt-4o_2024-11-20_v3") == version


@pytest.mark.parametrize("text", ["", "a", "a_b", "a_b_c_d", "a/b_c_d", "-a_b_c", "a_b_c-", "a_b_é", "a__c"])
def test_text_that_is_no_label_is_refused(text):
    with pytest.raises(VersionIdError):
        VersionId.from_label(text)


@pytest.mark.parametrize(
    ("model", "provider_version", "prompt_version"),
    [
        ("a_b", "c", "d"),
        ("a/b", "c", "d"),
        ("é", "c", "d"),
        ("-a", "b", "c"),
        ("a", "b", "c."),
        ("m" * 60, "1", "v1"),
        ("a", "b", "c.h0123456789ab"),
    ],
)
def test_label_that_could_be_misread_carries_a_hash(model, provider_version, prompt_version):
    version = VersionId(model, provider_version, prompt_version)
    assert version.label.endswith(".h" + hashlib.sha256(str(version).encode()).hexdigest()[:12])
    assert version.matches(version.label)


def test_label_beyond_63_characters_carries_a_hash_while_the_tag_is_still_readable():
    version = VersionId("m" * 60, "1", "v1")
    assert len(version.label) == 63
    assert version.tag == "m" * 60 + "_1_v1"
    exact = VersionId("m" * 58, "1", "v1")
    assert exact.label == "m" * 58 + "_1_v1"
    assert len(exact.label) == 63


@given(VERSIONS, VERSIONS)
@example(VersionId("a_b", "c", "d"), VersionId("a", "b_c", "d"))
@example(VersionId("a/b", "c", "d"), VersionId("a-b", "c", "d"))
@example(VersionId("a.b", "c", "d"), VersionId("a", "b", "c.d"))
def test_distinct_versions_never_share_a_label(one, other):
    assume(one != other)
    encoded = {one.label, one.tag}
    assert encoded.isdisjoint({other.label, other.tag})
    assert not any(other.matches(text) for text in encoded)


def test_a_version_that_looks_like_the_hash_of_another_does_not_take_its_label():
    long = VersionId("a" * 70, "1", "v1")
    start, _, digest = long.label.rpartition(".h")
    imitation = VersionId(start, "1", f"v1.h{digest}")
    assert imitation.label != long.label
    assert not imitation.matches(long.label)
    parts = VersionId("m", "1", "v.1").label.split("_")
    assert VersionId.from_label("_".join(parts)) == VersionId("m", "1", "v.1")


@given(VERSIONS)
def test_a_version_matches_each_of_its_forms(version):
    assert all(version.matches(form) for form in (str(version), version.label, version.tag, version.env))
    other = VersionId(version.model, version.provider_version, version.prompt_version + "x")
    assert not other.matches(str(version))


def test_versions_sort_by_part():
    texts = ["b/1/v1", "a/2/v1", "a/1/v2", "a/1/v1"]
    assert [str(version) for version in sorted(map(VersionId.parse, texts))] == sorted(texts)
