"""A policy as it is written: its margin, its strictness, and a digest that older policies keep."""

import pytest

from aigate.core.digest import digest_of
from aigate.errors import ConfigError
from aigate.gating.policy import Policy

CHECKS = [{"check": "min-score", "metric": "correct", "at-least": 0.5}]


def read(**keys):
    return Policy.from_config({"checks": CHECKS, **keys})


def test_a_margin_may_be_a_number_or_auto():
    assert read(margin=0.02).settings.margin == 0.02
    assert read(margin="auto").settings.margin == "auto"
    assert read().margin == 0.05


@pytest.mark.parametrize("margin", [0, 1, -0.05, 5, float("nan"), "Auto", "", "0.05"])
def test_another_margin_is_refused_and_told_what_is_expected(margin):
    with pytest.raises(ConfigError, match=r"\[policy\]: 'margin' is .*: expected a number between 0 and 1, or 'auto'"):
        read(margin=margin)


@pytest.mark.parametrize("margin", [True, None, [0.05]])
def test_a_margin_of_another_type_is_refused(margin):
    with pytest.raises(ConfigError, match="'margin' is .*: expected a number"):
        read(margin=margin)


def test_a_word_in_place_of_the_margin_is_refused_in_python_too():
    with pytest.raises(ConfigError, match="'margin' is 'none': expected a number between 0 and 1, or 'auto'"):
        Policy(read().checks, margin="none")


@pytest.mark.parametrize("alpha", [0, 0.5, "auto"])
def test_alpha_knows_no_auto(alpha):
    with pytest.raises(ConfigError, match="'alpha' is .*: expected a number"):
        read(alpha=alpha)


def test_strict_is_off_until_it_is_set():
    assert read().settings.strict is False
    assert read(strict=True).settings.strict is True


@pytest.mark.parametrize("strict", ["yes", 1, None])
def test_strict_is_true_or_false(strict):
    with pytest.raises(ConfigError, match="'strict' is .*: expected true or false"):
        read(strict=strict)


@pytest.mark.parametrize("keys", [{}, {"margin": "auto"}, {"strict": True}, {"strict": False, "margin": 0.1}])
def test_a_policy_reads_back_what_it_writes(keys):
    policy = read(**keys)
    assert Policy.from_config(policy.to_dict()) == policy


def test_policies_from_before_strict_keep_their_digest():
    written = {
        "alpha": 0.05,
        "margin": 0.05,
        "valid-days": 7,
        "at-most-missing": 0.10,
        "checks": [check.to_dict() for check in read().checks],
    }
    assert read().digest == read(strict=False).digest == digest_of(written)


def test_strict_and_auto_change_the_digest():
    assert len({read().digest, read(strict=True).digest, read(margin="auto").digest}) == 3
