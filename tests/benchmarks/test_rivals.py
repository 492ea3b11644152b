"""Each of the other tools is called through its own API: `pip install '.[rivals]'`."""

import numpy as np
import pytest

from rates.rivals import RIVALS


@pytest.mark.integration
@pytest.mark.parametrize("key", RIVALS)
def test_a_rival_answers_and_ships_no_collapse(key):
    good, bad = np.ones(200), np.where(np.arange(200) % 2, 1.0, 0.0)
    assert RIVALS[key].installed
    assert RIVALS[key].judge(good, bad, 1) in ("block", None)
    if key not in ("evalsig",):  # it asks whether the candidate is better, so it never says that it is worse
        assert RIVALS[key].judge(good, bad, 1) == "block"
        assert RIVALS[key].judge(good, good, 1) != "block"


def test_a_rival_that_is_not_there_has_no_version(monkeypatch):
    monkeypatch.setattr("rates.rivals.version", _missing)
    assert {rival.installed for rival in RIVALS.values()} == {None}


def _missing(name):
    from rates.rivals import PackageNotFoundError

    raise PackageNotFoundError(name)
