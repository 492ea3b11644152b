"""The plan holds what the target table asks for, and judges figures as it says."""

import json

import pytest

from rates import real, rivals
from rates.plan import Configuration, Target, configurations, figure, meets, seed_from
from rates.running import EXPERIMENTS, run_one


@pytest.fixture
def full():
    return configurations(quick=False)


def section(chosen, name):
    return [c for c in chosen if c.section == name]


def test_names_are_unique_and_experiments_exist(full):
    names = [(c.section, c.name) for c in full]
    assert len(set(names)) == len(names)
    assert {c.experiment for c in full} <= set(EXPERIMENTS)


def test_eighty_configurations_of_equal_versions_with_ten_thousand_runs(full):
    equal = section(full, "equal")
    assert len(equal) == 80
    assert {c.runs for c in equal} == {10_000}
    assert {t.limit for c in equal for t in c.targets} == {0.05}


def test_every_row_of_the_target_table_has_a_target(full):
    wanted = {
        ("equal", "block", 0.05),
        ("bare", "block", 0.05),
        ("families", "block", 0.05),
        ("repeats", "block", 0.05),
        ("false passes", "pass", 0.06),
        ("false passes", "pass", 0.05),
        ("clusters, pass", "strict", 0.05),
        ("power, 0/1 corr .6", "block", 0.70),
        ("power, 0/1 corr .6", "block", 0.93),
        ("power, 0/1 corr .6", "block", 0.99),
        ("power, 0/1 corr .6", "pass", 0.70),
        ("power, 0/1 corr .6", "pass", 0.95),
        ("power, 0/1 corr .6", "pass", 0.99),
        ("power, 0/1 corr .6", "saved", 0.35),
        ("power, 0/1 corr .6", "saved", 0.50),
        ("power, 0/1 corr .6", "saved", 0.55),
        ("power, 0/1 corr .6", "saved", 0.65),
        ("power, claims share", "block", 0.60),
        ("power, claims share", "block", 0.84),
        ("power, claims share", "block", 0.95),
        ("escalation", "undecided", 0.10),
        ("escalation", "block", 0.78),
        ("escalation", "calls", 2.2),
        ("threshold 0.85", "used", 0.40),
        ("threshold 0.85", "wrong", 0.01),
        ("canary", "alarm", 0.01),
        ("canary", "alarm", 0.99),
        ("canary", "median", 60),
    }
    assert wanted <= {(c.section, t.measure, t.limit) for c in full for t in c.targets}


def test_every_experiment_returns_the_figures_it_is_judged_and_shown_by(full):
    seen = set()
    for c in full:
        if c.experiment in seen or (c.experiment == "compared" and c.options["rule"] not in ("aigate",)):
            continue
        seen.add(c.experiment)
        options = {**c.options, **({"candidates": 2} if "candidates" in c.options else {})}
        _, result = run_one(Configuration(c.section, c.name, c.experiment, options, 2, c.targets, c.shown))
        for measure in (*(t.measure for t in c.targets), *c.shown):
            assert figure(measure, result["counts"], 2) >= 0.0
    assert {"verdicts", "compared", "ratchet", "threshold_stops", "rate_alarms"} <= seen


def test_a_seed_does_not_depend_on_the_number_of_runs(full):
    quick = {(c.section, c.name): c.seed for c in configurations(quick=True)}
    assert quick
    assert all(quick[c.section, c.name] == c.seed for c in full if (c.section, c.name) in quick)
    assert seed_from("a") != seed_from("b")


def test_all_rules_are_compared_on_the_same_data(full):
    seeds = {}
    for c in section(full, "rules"):
        seeds.setdefault((c.options["kind"], c.options["n"], c.options["drop"]), set()).add(c.options["data_seed"])
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set.union(*seeds.values())) == len(seeds)


def test_options_survive_a_checkpoint(full):
    assert all(json.loads(c.key)[3] == c.options for c in full)


@pytest.mark.parametrize(("count", "status"), [(50, "met"), (51, "within noise"), (70, "within noise"), (71, "missed")])
def test_a_rate_is_missed_beyond_three_standard_errors(count, status):
    # At most 5 % of 1,000 runs: one standard error is 0.69 %.
    assert meets(Target("block", 0.05), {"block": count}, 1_000) == status


def test_a_mean_is_missed_beyond_three_of_its_standard_errors():
    escalated = {"calls": 2.3 * 100, "calls, squares": 9.0 * 65 + 35}
    assert meets(Target("calls", 2.2), escalated, 100) == "within noise"
    many = {key: 100 * value for key, value in escalated.items()}
    assert meets(Target("calls", 2.2), many, 10_000) == "missed"


def test_a_number_without_noise_is_missed_at_once():
    assert meets(Target("median", 60), {"median": 60.0}, 100) == "met"
    assert meets(Target("median", 60), {"median": 61.0}, 100) == "missed"


def test_a_lower_bound_is_a_lower_bound():
    assert meets(Target("block", 0.9, at_most=False), {"block": 95}, 100) == "met"
    assert meets(Target("block", 0.9, at_most=False), {"block": 50}, 100) == "missed"


def test_rows_that_cannot_be_run_are_left_out(monkeypatch):
    monkeypatch.setattr(real, "SUITES", real.SUITES / "nowhere")
    monkeypatch.setattr(rivals, "version", _no_package)
    chosen = configurations(quick=False)
    assert not [c for c in chosen if "source" in c.options]
    assert not [c for c in chosen if c.options.get("rule") in rivals.RIVALS]
    assert len(section(chosen, "equal")) == 80


def _no_package(name):
    raise rivals.PackageNotFoundError(name)
