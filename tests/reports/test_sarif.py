"""SARIF 2.1.0: sound by its own validator, with rules, places and fingerprints that code scanning needs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aigate.core.verdict import CheckOutcome, Reason, Status
from aigate.reports.documents import json_document
from aigate.reports.places import Places
from aigate.reports.sarif import sarif

VALIDATOR = Path(sys.prefix, "node_modules", "@microsoft", "sarif-multitool-linux")


def result_of(verdict, candidate, places):
    [run] = sarif(verdict, candidate, places)["runs"]
    return run, *run["results"]


@pytest.mark.parametrize(
    ("status", "level"), [(Status.FAIL, "error"), (Status.ERROR, "error"), (Status.INCONCLUSIVE, "warning")]
)
def test_a_check_that_is_no_pass_is_a_result_at_its_row(judged, places, status, level):
    run, found = result_of(*judged(status=status)[:2], places)
    assert (found["ruleId"], found["level"]) == ("no-regression", level)
    place = found["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("goldens/faq/suite.toml", 6)
    assert run["tool"]["driver"]["rules"][found["ruleIndex"]]["id"] == "no-regression"
    assert run["invocations"][0]["executionSuccessful"] is (status is not Status.ERROR)


def test_samples_that_got_worse_are_pointed_to(judged, places):
    _, found = result_of(*judged()[:2], places)
    [related] = found["relatedLocations"]
    assert related["physicalLocation"]["region"]["startLine"] == 2
    assert related["message"]["text"] == "a 1 to 0"


def test_a_rule_brings_its_page(judged, places):
    run, _ = result_of(*judged()[:2], places)
    [rule] = run["tool"]["driver"]["rules"]
    assert "did not fall by more than a margin" in rule["shortDescription"]["text"]
    assert "slices" in rule["help"]["markdown"]


def test_a_check_of_an_installed_package_that_is_gone_has_a_page_too(judged, places, verdict):
    gone = CheckOutcome("our-own", Status.FAIL, "no", reasons=(Reason("x", "y"),))
    run, found = result_of(verdict(Status.FAIL, gone), judged()[1], places)
    assert run["tool"]["driver"]["rules"][0]["id"] == found["ruleId"] == "our-own"


def test_a_pass_has_no_results(judged, places, check, verdict):
    [run] = sarif(verdict(Status.PASS, check(Status.PASS)), judged()[1], places)["runs"]
    assert run["results"] == []
    assert run["properties"]["status"] == "pass"


def test_a_fingerprint_stays_while_the_check_is_the_same(judged, places):
    prints = [
        result_of(*judged(output, observed=observed)[:2], places)[1]["partialFingerprints"]
        for output, observed in (("x", -0.2), ("y", -0.4))
    ]
    assert prints[0] == prints[1]


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["fail", "pass", "hostile", "without-suite", "broken"])
def test_its_own_validator_finds_nothing_wrong(judged, places, check, verdict, tmp_path, kind):
    assert VALIDATOR.is_dir(), "npm install --prefix .ci-venv @microsoft/sarif-multitool-linux (.ci/run does)"
    found, candidate, _ = (
        judged("\x00\ud800##[error]" * 50, id_="a b\u202e%/", suite="ä / ö") if kind == "hostile" else judged()
    )
    found = verdict(Status.PASS, check(Status.PASS)) if kind == "pass" else found
    log = sarif(found, candidate, Places("run of m.jsonl") if kind == "without-suite" else places)
    if kind == "broken":
        log["runs"][0]["results"][0]["ruleIndex"] = 99
    assert (validated(log, tmp_path) == []) is (kind != "broken")


def validated(log, folder):
    """What Microsoft's validator says of a log, GitHub's own rules included, but that we name no web site."""
    program = folder / "validator"
    shutil.copytree(VALIDATOR, program)
    (program / "Sarif.Multitool").chmod(0o755)
    (folder / "log.sarif").write_text(json_document(log))
    done = subprocess.run(
        [program / "Sarif.Multitool", "validate", "log.sarif", "--rule-kind", "Sarif;Gh;Ghas", "-o", "found.sarif"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1", "HOME": str(folder)},
    )
    [run] = json.loads((folder / "found.sarif").read_text("utf-8-sig"))["runs"]
    assert run["results"], done.stdout  # of a log that it cannot read, it says nothing at all
    return [result for result in run["results"] if result["ruleId"] != "SARIF2005"]
