"""Finding siblings by name, with a hint for a misspelt one."""

import json
from importlib.metadata import EntryPoint

import pytest

from aigate.core import registry
from aigate.core.registry import Registry, nearest, refuse_unknown
from aigate.errors import ConfigError

SHAPES = Registry("shape", "aigate.shapes", {"dumps": "json:dumps", "sha": "hashlib:sha256"}, ConfigError)


@pytest.fixture
def installed(monkeypatch):
    """An installed package that names two shapes."""
    entries = [EntryPoint("loads", "json:loads", "aigate.shapes"), EntryPoint("dumps", "json:loads", "aigate.shapes")]
    monkeypatch.setattr(registry, "entry_points", lambda *, group: entries if group == "aigate.shapes" else [])


def test_a_built_in_factory_is_found_by_name():
    assert SHAPES.factory("dumps") is json.dumps


@pytest.mark.usefixtures("installed")
def test_an_installed_one_is_found_and_a_built_in_one_wins():
    assert SHAPES.factory("loads") is json.loads
    assert SHAPES.factory("dumps") is json.dumps
    assert SHAPES.names() == ["dumps", "loads", "sha"]


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match="unknown shape 'dump'") as caught:
        SHAPES.factory("dump")
    assert caught.value.hint == "did you mean 'dumps'?"


def test_without_a_near_name_all_are_listed():
    assert nearest("zzz", ["b", "a"], kind="keys") == "known keys: a, b"
    assert nearest("zzz", [], kind="keys") == "known keys: none"


def test_the_first_unknown_option_is_refused_and_known_ones_are_not():
    refuse_unknown(["a", "b"], ["b", "a", "c"], where="here", error=ConfigError)
    with pytest.raises(ConfigError, match="here: unknown option 'q'"):
        refuse_unknown(["a", "q", "r"], ["a"], where="here", error=ConfigError)
