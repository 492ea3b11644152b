"""The anchor from the command line: an older run beside the baseline."""

COMPARED = """\
version = "m/1/v1"
provider = "replay"
scorers = ["recorded:correct"]
primary-metric = "correct"

[policy]
checks = [{ check = "no-regression", metric = "correct" }]
"""


def test_the_run_in_force_may_be_pinned_without_a_min_score_of_its_own(place):
    place.write_suite(toml=COMPARED)
    run = place.eval(place.record("base", 80))[3]
    assert place.run("baseline", "promote", run, "--suite", place.suite, "--threshold", "0.5")[0] == 0
    code, _, err = place.run("baseline", "promote", run, "--suite", place.suite, "--name", "anchor")
    assert code == 0, err
    assert place.eval(place.record("again", 80))[0] == 0


def test_a_worse_run_than_the_baseline_is_not_pinned(place):
    place.write_suite(toml=COMPARED)
    run = place.eval(place.record("base", 80))[3]
    assert place.run("baseline", "promote", run, "--suite", place.suite, "--threshold", "0.5")[0] == 0
    worse = place.eval(place.record("worse", 40))[3]
    code, _, err = place.run("baseline", "promote", worse, "--suite", place.suite, "--name", "anchor")
    assert code == 4
    assert "fell by 40 points" in err


def test_one_name_for_baseline_and_anchor_is_refused_before_anything_is_answered(place):
    place.write_suite(toml=f'anchor = "main"\n{COMPARED}')
    code, _, err, run = place.eval(place.record("base", 80))
    assert code == 2
    assert "anchor and baseline are both 'main'" in err
    assert not run.exists()


def test_gate_and_promote_hold_a_run_against_the_anchor_too(place):
    place.write_suite(n=1000, toml=COMPARED)
    runs = {good: place.eval(place.record(f"v{good}", good, n=1000))[3] for good in (1000, 970, 900)}
    for name, good in (("anchor", 1000), ("main", 970)):
        arguments = (runs[good], "--suite", place.suite, "--name", name, "--threshold", "0.5")
        code, _, err = place.run("baseline", "promote", *arguments)
        assert code == 0, err
    code, _, err = place.run("gate", runs[900], "--suite", place.suite)
    assert code == 1
    assert "no-regression correct vs anchor: correct fell by" in err
