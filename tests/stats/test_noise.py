"""The scatter of judged scores, split between judge and system."""

import numpy as np
import pytest

from aigate.stats.noise import Noise, split_noise


def simulated(rng, *, samples, answers, votes, judge, system):
    """Scores of the nested model; `answers` and `votes` give how many, by sample and answer."""
    return [
        [
            [float(mean + error + rng.normal(0.0, judge)) for _ in range(votes(rng))]
            for error in rng.normal(0.0, system, size=answers(rng))
        ]
        for mean in rng.uniform(0.0, 1.0, size=samples)
    ]


@pytest.mark.parametrize(("judge", "system"), [(0.2, 0.1), (0.1, 0.3), (0.15, 0.0), (0.0, 0.2)])
@pytest.mark.parametrize("ragged", [False, True])
def test_both_parts_are_found_again(judge, system, ragged):
    rng = np.random.default_rng(7)
    found = split_noise(
        simulated(
            rng,
            samples=3000,
            answers=(lambda rng: int(rng.integers(2, 5))) if ragged else (lambda rng: 3),
            votes=(lambda rng: int(rng.integers(1, 5))) if ragged else (lambda rng: 3),
            judge=judge,
            system=system,
        )
    )
    assert found.judge == pytest.approx(judge, abs=0.01)
    assert found.system == pytest.approx(system, abs=0.03)


def test_a_judge_that_never_changes_its_mind_leaves_all_to_the_system():
    found = split_noise([[[0.0, 0.0], [1.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]]])
    assert (found.judge, found.judge_share) == (0.0, 0.0)
    assert found.system == pytest.approx(0.5)


def test_what_was_judged_once_shows_nothing_of_the_judge():
    assert split_noise([[[0.0], [1.0]]]) == Noise(None, None)


def test_one_answer_a_sample_shows_nothing_of_the_system():
    assert split_noise([[[0.0, 1.0]], [[0.5, 0.5]]]) == Noise(0.5, None)
    assert Noise(0.5, None).judge_share is None


@pytest.mark.parametrize("nothing", [[], [[]], [[[]]]])
def test_nothing_shows_nothing(nothing):
    assert split_noise(nothing) == Noise(None, None)


def test_no_scatter_at_all_has_no_shares():
    assert split_noise([[[0.5, 0.5], [0.5, 0.5]]]).judge_share == 0.0
