"""The HTML report as a file: whole, closed to the network, the same every time, and unmoved by what a model wrote."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from aigate.core.response import Response
from aigate.core.verdict import CheckOutcome, Interval, Moved, Reason, Status
from aigate.reports.html import LIBRARIES, PAGE, VENDOR, html
from aigate.reports.story import tell

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\"'{{ 7*7 }}\x00\x1b[2J\u202e\ud800&amp;"
# Of the files as their publishers have them on npm.
DIGESTS = {
    "diff.min.js": "b51a9d2885f2c090dc97b981027395f7e7e6558a46c75ae3747db267913a89ab",
    "d3.min.js": "912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1",
    "plot.min.js": "4358086467740777dd788d6b27a95cebdbaefdd50c730a3060117073bd7134cb",
}


class Elements(HTMLParser):
    """Every element of a document with its attributes, and the texts of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self._inside = [], [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in {"script", "style"} else None
        if self._inside:
            self.texts.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside:
            tag, attrs, text = self.texts[-1]
            self.texts[-1] = (tag, attrs, text + data)


def rules_of(document):
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', document)
    rules = policy.replace("&#39;", "'").split("; ")
    return {name: values.split() for name, _, values in (rule.partition(" ") for rule in rules)}


def digest_of(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.fixture
def hostile(make_run, verdict):
    """A report in which every text that others wrote is hostile."""
    row = {"tag": HOSTILE, "n": 9, "baseline_mean": 0.9, "candidate_mean": 0.5, "difference": -0.4, "p": 0.1, "q": 0.01}
    found = CheckOutcome(
        "no-regression",
        Status.FAIL,
        HOSTILE,
        metric=HOSTILE,
        observed=-0.4,
        threshold=-0.05,
        interval=Interval(-0.5, -0.3, 0.9, HOSTILE),
        n_samples=2,
        n_repeats=(1, 1),
        moved=(Moved(HOSTILE, 1.0, 0.0, HOSTILE),),
        reasons=(Reason("drop", HOSTILE, HOSTILE),),
        details={"slices": [row], "baseline_mean": 0.9, "candidate_mean": 0.5, "worse": 1, "better": 0},
    )
    note = CheckOutcome(HOSTILE, Status.PASS, HOSTILE, reasons=(Reason("x", HOSTILE),), integrity=True)
    run = make_run(
        {HOSTILE: [0.0]},
        metric=HOSTILE,
        outputs={HOSTILE: HOSTILE},
        inputs={HOSTILE: HOSTILE},
        tags={HOSTILE: [HOSTILE]},
        suite_name=HOSTILE,
        provider={"name": HOSTILE},
        commit=HOSTILE,
    )
    told = verdict(Status.FAIL, note, found, candidate=HOSTILE, baseline=HOSTILE)
    return html(tell(told, run, run), run, run)


def test_what_a_model_wrote_makes_no_element_and_no_attribute(hostile, failing, make_run):
    harmless = [tag for tag, _ in Elements(hostile).elements]
    assert harmless.count("script") == 2 + len(LIBRARIES) + 2 + 1  # data, libraries, ours, one block
    assert "img" not in harmless
    assert "alert(1)</script>" not in hostile
    attributes = {name for _, attributes in Elements(hostile).elements for name in attributes}
    assert not {name for name in attributes if name.startswith("on")}


def test_what_a_model_wrote_is_shown_with_what_cannot_be_seen_made_visible(hostile):
    assert "&lt;img src=x onerror=alert(2)&gt;" in hostile
    assert "{{ 7*7 }}" in hostile
    for shown in (r"\x00", r"\x1b[2J", r"\u202e", r"\ud800"):
        assert shown in hostile
    assert not set(hostile) & set("\x00\x1b\u202e\ud800")
    assert hostile.encode("utf-8")


def test_scripts_and_styles_are_those_that_the_policy_names_and_it_allows_nothing_else(hostile):
    rules, texts = rules_of(hostile), Elements(hostile).texts
    runs = [text for tag, attributes, text in texts if tag == "script" and "type" not in attributes]
    assert sorted(rules["script-src"]) == sorted(map(digest_of, runs))
    styles = [text for tag, _, text in texts if tag == "style"]
    assert rules["style-src"] == [*map(digest_of, styles), digest_of((PAGE / "plot.css").read_text("utf-8"))]
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == ["'none'"]
    assert rules["require-trusted-types-for"] == ["'script'"]


def test_the_file_asks_for_nothing(hostile):
    elements = Elements(hostile).elements
    assert not [found for found in elements if found[0] in {"link", "iframe", "img", "object", "embed", "base"}]
    assert [a["href"] for tag, a in elements if tag == "a" and not a["href"].startswith("#")] == []
    assert not [a for _, a in elements if "src" in a or "srcset" in a or "style" in a]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_a_library_is_the_published_one_and_its_licence_stands_in_every_report(library, hostile):
    whole = (VENDOR / library.file).read_bytes()
    assert hashlib.sha256(whole).hexdigest() == DIGESTS[library.file]
    assert whole.decode("utf-8") in hostile
    licence = (VENDOR / library.licence).read_text("utf-8")
    assert "Copyright" in licence
    assert licence.splitlines()[-1].split(".")[0][:40].replace('"', "&#34;") in hostile
    assert f"{library.name} {library.version}" in hostile


@pytest.mark.parametrize("file", sorted(path.name for path in PAGE.iterdir() if path.suffix in {".js", ".css"}))
def test_no_file_of_the_page_can_end_its_own_element(file):
    text = (PAGE / file).read_text("utf-8")
    assert not re.search(r"</(script|style)|<!--", text, re.IGNORECASE)
    assert "\r" not in text  # the parser would change the line ends, and with them the digest


def report_of(verdict, make_run, *checks, status=Status.FAIL, baseline=True, **tell_with):
    before = make_run({"a": [1.0], "b": [1.0]}, version="m/1/v1") if baseline else None
    now = make_run({"a": [0.0], "b": [1.0]}, version="m/2/v1")
    told = verdict(status, *checks, baseline="m/1/v1" if baseline else None)
    return html(tell(told, now, before, **tell_with), now, before)


def visible(document):
    """The text of the page, without scripts and styles."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", document, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_same_story_gives_the_same_bytes(verdict, check, make_run):
    first, second = (report_of(verdict, make_run, check()) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("status", list(Status))
def test_the_verdict_stands_on_top_with_its_reasons(verdict, check, make_run, status):
    text = visible(report_of(verdict, make_run, check(status), status=status))
    assert f"{str(status).upper()} m/2/v1 against m/1/v1" in text
    assert "correct fell" in text
    assert text.index(str(status).upper()) < text.index("Checks")


def test_a_comparison_has_no_verdict(verdict, check, make_run):
    text = visible(report_of(verdict, make_run, check(), decided=False))
    assert "COMPARISON m/2/v1 against m/1/v1" in text
    assert "FAIL" not in text
    assert "Next:" not in text


def test_a_check_is_drawn_with_interval_bound_and_their_numbers(verdict, check, make_run):
    found = check(
        observed=-0.4,
        threshold=-0.05,
        interval=Interval(-0.5, -0.3, 0.9, "Tango"),
        details={"baseline_mean": 0.9, "candidate_mean": 0.5, "worse": 1, "better": 0},
    )
    document = report_of(verdict, make_run, found)
    assert 'aria-label="observed −40.0, interval −50.0 to −30.0, bound −5.0"' in document
    assert "90 % interval: Tango −40.0 −50.0 to −30.0 ≥ −5.0" in visible(document)
    assert "▼ 1 worse" in visible(document)


def test_the_top_tells_of_the_comparison_that_did_not_pass(verdict, check, make_run):
    numbers = {"observed": -0.4, "threshold": -0.05, "interval": Interval(-0.5, -0.3, 0.9, "Tango")}
    moved = {"baseline_mean": 0.9, "candidate_mean": 0.5, "better": 0}
    primary = check(Status.PASS, **numbers, details={**moved, "worse": 1})
    other = check(metric="other", **numbers, details={**moved, "worse": 7})
    assert "▼ 7 worse ▲ 0 better of 3, other" in visible(report_of(verdict, make_run, primary, other))
    assert "▼ 1 worse ▲ 0 better of 3 Scored" in visible(report_of(verdict, make_run, primary))


def test_passing_rules_are_named_and_broken_ones_are_rows(verdict, make_run, check):
    sound = CheckOutcome("comparable", Status.PASS, "the same samples", integrity=True)
    broken = CheckOutcome("served-model", Status.ERROR, "served m/9", integrity=True)
    text = visible(report_of(verdict, make_run, sound, broken, check()))
    assert "Sound: comparable" in text
    assert "! error served-model served m/9" in text


def test_without_a_baseline_there_is_one_column(verdict, make_run, check):
    text = visible(report_of(verdict, make_run, check(n_repeats=(1,)), baseline=False))
    assert "Baseline" not in text.split("Samples")[0]
    assert "against" not in text.split("Checks")[0]


def test_samples_that_moved_can_be_read_without_scripts(verdict, make_run, check):
    text = visible(report_of(verdict, make_run, check(moved=(Moved("a", 1.0, 0.0, "broke"),))))
    assert "a no-regression correct · 1.000 → 0.000 · broke" in text
    assert "answer of m/1/v1 to a" in text
    assert "answer of m/2/v1 to a" in text


def test_what_took_how_long_and_cost_how_much_is_told_and_the_unknown_is_not_zero(make_answers, verdict, check):
    before = make_answers({"a": [Response(output="x", latency_s=0.25, cost_usd=0.5)]}, version="m/1/v1")
    now = make_answers({"a": [Response(output="y", latency_s=2.5)]})
    text = visible(html(tell(verdict(Status.FAIL, check()), now, before), now, before))
    assert "Latency, p50 250 ms too few for an interval 2.5 s" in text
    assert "Cost $0.5 $0.5 an answer not known" in text
    assert "$0 " not in text


def test_nothing_of_the_environment_is_in_a_report(verdict, make_run, check, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("AIGATE_ANYTHING", "also-secret")
    document = report_of(verdict, make_run, check())
    assert "secret" not in document
