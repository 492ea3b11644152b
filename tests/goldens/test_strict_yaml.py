import pytest
import yaml

from aigate.core.json_text import JsonDefectError
from aigate.goldens.strict_yaml import strict_yaml


def test_dates_stay_text():
    assert strict_yaml("version: 2024-11-20")[0] == {"version": "2024-11-20"}


def test_lines_of_keys_are_given():
    assert strict_yaml("# note\na: 1\nb:\n  c: 2\n'd': 3")[1] == {"a": 2, "b": 3, "d": 5}


def test_nothing_is_none():
    assert strict_yaml("# only a comment\n") == (None, {})


@pytest.mark.parametrize(
    ("text", "line", "fragment"),
    [
        ("a: 1\na: 2", 2, "duplicate key 'a'"),
        ("a:\n  b: 1\n  b: 2", 3, "duplicate key 'b'"),
        ("a: &x 1\nb: *x", 2, "aliases are not supported"),
        ("a: &x [*x]", 1, "aliases are not supported"),
        ("a: [1", 1, "expected ',' or ']'"),
        ("? [a]\n: 1", 1, "unhashable"),
        ("a: !!python/name:os.system", 1, "could not determine a constructor"),
        ("a: 1\n---\nb: 2", 2, "but found another document"),
        ("1: a", None, "key 1 is not a string"),
        ("a: .inf", None, "inf is not a JSON number"),
        ("a: !!set {b}", None, "set is not JSON"),
        ("a: " + "[" * 3000, None, "invalid YAML"),
    ],
)
def test_what_is_no_plain_data_is_refused(text, line, fragment):
    with pytest.raises(JsonDefectError, match="invalid YAML") as raised:
        strict_yaml(text)
    assert fragment in raised.value.message
    assert raised.value.line == line


def test_defaults_of_the_yaml_package_are_left_alone():
    assert str(yaml.safe_load("a: 2024-11-20")["a"]) == "2024-11-20"
    assert not isinstance(yaml.safe_load("a: 2024-11-20")["a"], str)
