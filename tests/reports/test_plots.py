"""Figures: what they show is in them, they leave nothing behind, and say what they cannot draw."""

import sys
import warnings

import pytest

from aigate.core.response import Response
from aigate.core.verdict import Interval, Status
from aigate.errors import MissingExtraError, UsageError
from aigate.gating.comparison import Comparison
from aigate.gating.tables import compare


@pytest.fixture(autouse=True)
def _without_a_display(monkeypatch, tmp_path):
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))


@pytest.fixture
def runs(make_run):
    before = make_run({f"s{n:02}": [1.0] for n in range(30)}, version="m/1/v1")
    now = make_run({f"s{n:02}": [float(n >= 6)] for n in range(30)}, version="m/2/v1")
    return before, now


def change(check, **more):
    details = {"baseline_mean": 0.9, "candidate_mean": 0.5}
    fields = {"observed": -0.4, "threshold": -0.05, "interval": Interval(-0.5, -0.3, 0.9, "Tango"), "details": details}
    return check(**{**fields, **more})


def drawn(figure, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(tmp_path / "figure.png")
    return (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_every_figure_is_drawn_on_white_and_leaves_none_behind(runs, verdict, check, tmp_path):
    import matplotlib.pyplot as plt

    before, now = runs
    for value in (now, Comparison(now, before), compare(before, now), verdict(Status.FAIL, change(check))):
        figure = value.plot()
        assert drawn(figure, tmp_path)
        assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    assert plt.get_fignums() == []


def test_a_comparison_counts_the_samples_at_each_pair_of_scores(runs):
    before, now = runs
    scatter = Comparison(now, before).plot().axes[0]
    assert sorted(text.get_text() for text in scatter.texts) == ["24", "6"]
    assert (scatter.get_xlabel(), scatter.get_ylabel()) == ("baseline", "candidate")


def test_a_run_has_a_histogram_of_all_scored_samples(make_run):
    left = make_run({"a": [1.0], "b": [0.0], "c": [None]}).plot().axes[0]
    assert sum(bar.get_height() for bar in left.patches) == 2


def test_latency_curves_are_drawn_where_latency_was_measured(make_answers, runs):
    run = make_answers({"a": [Response(output="x", latency_s=1.0)], "b": [Response(output="y", latency_s=99.0)]})
    right = run.plot().axes[1]
    assert right.get_lines()[0].get_xdata().tolist() == [1.0, 1.0, 99.0]
    assert right.get_xscale() == "log"
    assert [text.get_text() for text in runs[0].plot().axes[1].texts] == ["not measured"]


def test_the_forest_of_a_verdict_has_a_row_per_change_with_interval_and_bound(verdict, check):
    axes = verdict(Status.FAIL, change(check), check(Status.PASS, check="same-shape", metric=None)).plot().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["no-regression correct"]
    interval, observed, bound, _ = [list(line.get_xdata()) for line in axes.get_lines()]
    assert (interval, observed, bound) == ([-50.0, -30.0], [-40.0], [-5.0, -5.0])


def test_comparisons_have_a_row_per_candidate_and_metric(runs):
    axes = compare(runs[0], runs[1], runs[0]).plot("correct").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["m/2/v1  correct", "m/1/v1  correct"]


@pytest.mark.parametrize("name", ["$x$", "a_b^c", "\\frac", "{", "\x00\u202e", "é" * 400, "$"])
def test_any_name_is_drawn_as_it_is(make_run, tmp_path, name):
    run = make_run({"a": [1.0]}, metric=name)
    assert drawn(run.plot(), tmp_path)


def test_an_unknown_metric_is_an_error_that_names_the_nearest(runs):
    for value in (runs[0], Comparison(*runs), compare(*runs)):
        with pytest.raises(UsageError, match="unknown metric 'corect'") as raised:
            value.plot("corect")
        assert raised.value.hint == "did you mean 'correct'?"


def test_what_has_nothing_to_draw_says_so(verdict, check, make_run, runs):
    with pytest.raises(UsageError, match="no check of this verdict"):
        verdict(Status.ERROR, check(Status.ERROR)).plot()
    with pytest.raises(UsageError, match="no candidate is comparable"):
        compare(runs[0], make_run({"z": [1.0]})).plot()


def test_without_matplotlib_the_error_names_the_extra(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match="matplotlib") as raised:
        runs[0].plot()
    assert raised.value.hint == "pip install 'aigate[plot]'"
