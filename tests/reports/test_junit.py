"""JUnit XML that Jenkins and GitLab accept: whatever is no pass is red, and no answer can break the document."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigate.core.verdict import Moved, Reason, Status
from aigate.reports.junit import junit
from aigate.reports.places import Places

# What Jenkins' schema for JUnit (xunit plugin, junit-10.xsd) allows, in its words: attributes and children by element.
ALLOWED = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "group", "time", "skipped", "timestamp", "hostname", "id", "package"}
        | {"file", "log", "url"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name", "time", "classname", "group"}, {"skipped", "error", "failure", "system-out", "system-err"}),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "system-out": (set(), set()),
}
HOSTILE = [
    "]]><failure/>",
    "</failure></testcase><testcase name='owned'/>",
    "<!DOCTYPE x [<!ENTITY a 'b'>]>&a;",
    "\x00\x01\x0b\x1f\x7f\x85",
    "\ud800 lone \udfff",
    "\ufffe\uffff\U0001ffff",
    "\u202eright to left",
    "\"quoted\" & 'quoted'",
    "##[error]::set-output name=a::b",
    "x" * 1_000_000,
]


def read(document):
    """The document, read by a strict parser and held against Jenkins' schema."""
    root = ET.fromstring(document.encode("utf-8"))  # noqa: S314 - our own document
    for element in root.iter():
        attributes, children = ALLOWED[element.tag]
        assert set(element.attrib) <= attributes, element.tag
        assert {child.tag for child in element} <= children, element.tag
    return root


def cases(document):
    return {case.get("name"): case for case in read(document).iter("testcase")}


@pytest.mark.parametrize("output", HOSTILE)
def test_no_answer_breaks_the_document(judged, places, output):
    verdict, candidate, _ = judged(output, id_=output[:2000], suite=output[:2000])
    found = cases(junit(verdict, candidate, places))
    assert len(found) == 5
    assert "owned" not in found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.text(st.characters(), min_size=1, max_size=60).filter(str.strip))
def test_no_text_breaks_the_document(judged, output):
    verdict, candidate, _ = judged(output, id_=f"{output}.")  # not the id of another of its samples
    assert len(list(read(junit(verdict, candidate, Places("suite.toml"))).iter("testcase"))) == 5


@pytest.mark.parametrize(
    ("status", "element"), [(Status.FAIL, "failure"), (Status.INCONCLUSIVE, "failure"), (Status.ERROR, "error")]
)
def test_whatever_is_no_pass_is_red(judged, places, status, element):
    verdict, candidate, _ = judged(status=status)
    document = junit(verdict, candidate, places)
    [found] = cases(document)["no-regression correct"]
    assert (found.tag, found.get("type")) == (element, str(status))
    assert "correct fell" in found.text
    suite = read(document).find("testsuite")
    assert int(suite.get("failures")) + int(suite.get("errors")) == 2  # the check, and the sample that it names
    assert suite.get("skipped") == "0"


def test_a_pass_has_no_failure_even_where_samples_score_low(judged, places, check, verdict):
    _, candidate, _ = judged()
    passing = verdict(Status.PASS, check(Status.PASS, moved=(Moved("a", 1.0, 0.0),)))
    document = junit(passing, candidate, places)
    assert read(document).find("testsuite").get("failures") == "0"
    assert "<failure" not in document


def test_only_samples_that_got_worse_are_red(judged, places, check, verdict):
    _, candidate, _ = judged()
    failing = verdict(Status.FAIL, check(moved=(Moved("a", 1.0, 0.0), Moved("b", 0.5, 1.0), Moved("c", 0.2, 0.2))))
    found = cases(junit(failing, candidate, places))
    assert [name for name in "abc" if len(found[name])] == ["a"]
    assert "no-regression correct 1 → 0" in found["a"][0].get("message")
    assert "wrong" in found["a"][0].text


def test_counts_are_those_of_the_document(judged, places):
    verdict, candidate, _ = judged()
    root = read(junit(verdict, candidate, places))
    for element in (root, root.find("testsuite")):
        assert int(element.get("tests")) == len(list(root.iter("testcase")))
        assert int(element.get("failures")) == len(list(root.iter("failure")))
        assert int(element.get("errors")) == len(list(root.iter("error")))


def test_names_of_test_cases_differ(judged, places):
    verdict, candidate, _ = judged(id_="no-regression correct")
    root = read(junit(verdict, candidate, places))
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(names)) == len(names)


def test_properties_carry_status_digests_and_statistics(judged, places):
    verdict, candidate, _ = judged(observed=-0.25, threshold=-0.05)
    root = read(junit(verdict, candidate, places))
    found = {element.get("name"): element.get("value") for element in root.iter("property")}
    assert (found["status"], found["exit-code"], found["candidate"]) == ("fail", "1", "m/2/v1")
    assert (found["no-regression.correct.observed"], found["no-regression.correct.bound"]) == ("-0.25", "-0.05")


def test_hints_stand_in_the_failure(judged, places):
    verdict, candidate, _ = judged(reasons=(Reason("drop", "it fell", "read them"),))
    assert "read them" in cases(junit(verdict, candidate, places))["no-regression correct"][0].text


def test_50_000_samples_stay_below_what_gitlab_takes(make_run, verdict, check, places):
    run = make_run({f"sample-{n:05}": [1.0] for n in range(2_000)})
    size = len(junit(verdict(Status.PASS, check(Status.PASS)), run, places).encode()) / 2_000
    assert size * 50_000 < 30 * 1024 * 1024
