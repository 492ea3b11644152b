"""JUnit files of pytest carry the statistics of verdicts as properties."""

from xml.etree import ElementTree as ET

import pytest


def properties(suites, case):
    found = ET.parse(suites.root / "junit.xml").iterfind(".//testcase")  # noqa: S314 - our own file
    [chosen] = [element for element in found if element.get("name") == case]
    return {prop.get("name"): prop.get("value") for prop in chosen.iterfind("properties/property")}


@pytest.fixture
def collected(suites):
    suites.write(good=40)
    suites.run("--junitxml", "junit.xml", collect=True)
    return suites


def test_a_check_carries_its_numbers(collected):
    found = properties(collected, "no-regression[correct]")
    assert found["aigate.no-regression.correct.status"] == "fail"
    assert float(found["aigate.no-regression.correct.observed"]) == pytest.approx(-1 / 3, abs=1e-9)
    assert float(found["aigate.no-regression.correct.threshold"]) == -0.05
    low, high = (float(found[f"aigate.no-regression.correct.interval-{end}"]) for end in ("low", "high"))
    assert low < -1 / 3 < high < 0
    assert (found["aigate.no-regression.correct.samples"], found["aigate.no-regression.correct.alpha"]) == (
        "60",
        "0.05",
    )


def test_the_rules_carry_what_the_verdict_is_bound_to(collected):
    found = properties(collected, "rules")
    assert (found["aigate.status"], found["aigate.version"], found["aigate.baseline"]) == ("fail", "m/1/v1", "m/1/v1")
    assert {"aigate.digest.candidate", "aigate.digest.suite", "aigate.digest.policy"} <= set(found)


def test_a_sample_carries_its_id(collected):
    assert properties(collected, "must-pass[safety/s59]")["aigate.sample"] == "s59"


def test_a_test_with_the_fixture_carries_the_whole_verdict(suites):
    suites.write(good=40)
    suites.test()
    suites.run("--junitxml", "junit.xml")
    found = properties(suites, "test_bot")
    assert found["aigate.status"] == "fail"
    assert float(found["aigate.min-score.correct.observed"]) == pytest.approx(2 / 3)
