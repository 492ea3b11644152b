"""The HTML report in real headless Chromium: it opens offline, filters, opens, compares, and runs nothing of a model's.

Integration: needs Chromium (`chromium` or a relative on PATH) and Playwright (extra `browser`); without them it fails.
"""

import random
import re
import shutil
from dataclasses import replace

import pytest

from aigate.core.response import Fault, FaultKind, Response
from aigate.core.sample import Sample
from aigate.core.score import MetricSpec, Score, Unscored
from aigate.core.verdict import CheckOutcome, Interval, Moved, Reason, Status, Verdict
from aigate.reports.html import html_pieces
from aigate.reports.story import tell

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("default"),  # Playwright's event loop is another package's
]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
PATIENCE_MS = 90_000  # a busy machine; Playwright's own is 30 s
CONTEXTS = (
    "Opened items may be returned within 30 days of delivery, provided that they are unused.\n\nGift cards are not.",
    "Customers pay the return shipping unless the item was “faulty”.",
)
HOSTILE = (
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    '"><svg onload=window.pwned=1>',
    "'-window.pwned=1-'",
    "<!--<script>",
    "]]></style><style>*{display:none}</style>",
    "{{ 7*7 }}{% raw %}",
    "javascript:window.pwned=1",
    "__proto__",
    "constructor",
    "\u202egnp.exe\u202c",
    "\x00\x01\x1b[2J\x7f\x9b",
    "\ud800 lone \udfff",
    "line\u2028paragraph\u2029end\ufeff",
    "hidden \U000e0041\U000e0042 tags",
    "&lt;b&gt; &amp; &#x3c;",
    "مرحبا بالعالم",
    "",
    " \n\t ",
    "word " * 400_000,
)


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    assert found, f"none of {', '.join(BROWSERS)} is on PATH: install Chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture
def visit(browser):
    """Open a file in a page of its own; at the end nothing may have been complained of or asked for."""
    contexts, complaints, asked = [], [], []

    def go(path, *, width=1280, height=900, fragment="", **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri() + fragment)
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready][data-charts]", state="attached")
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith("file:")] == []


def write(path, candidate, baseline, verdict, **tell_with):
    pieces = html_pieces(tell(verdict, candidate, baseline, **tell_with), candidate, baseline)
    path.write_text("".join(pieces), "utf-8")
    return path


def compared(candidate, baseline, *, moved=(), metric="correct", **details):
    """A failing verdict on two runs."""
    details = {"baseline_mean": 0.9, "candidate_mean": 0.5, "worse": 3, "better": 1, "slices": [], **details}
    check = CheckOutcome(
        "no-regression",
        Status.FAIL,
        f"{metric} fell",
        metric=metric,
        observed=-0.4,
        threshold=-0.05,
        interval=Interval(-0.5, -0.3, 0.9, "Tango"),
        n_samples=len(candidate.samples),
        n_repeats=(1, 1),
        moved=moved,
        reasons=(Reason("drop", f"{metric} fell by 40 points"),),
        details=details,
    )
    versions = (str(candidate.version), str(baseline.version))
    metrics = {spec.metric: {"mean": 0.5, "missing": 0} for spec in candidate.header.metrics}
    return Verdict(Status.FAIL, (check,), *versions, {}, candidate.ledger.to_dict(), metrics=metrics)


CLAIMS = [
    {"text": "Opened items can be returned.", "verdict": "supported", "quote": "Opened items may be returned"},
    {"claim": "Within a month.", "supported": True, "evidence": ["within  30 DAYS\nof delivery"]},
    {"statement": "Shipping is free.", "verdict": "not_supported", "quote": "shipping is free", "reason": "It is not."},
    {"text": "Faulty items too.", "verdict": "unclear", "quote": 'unless the item was "faulty"'},
    "A bare claim.",
]


@pytest.fixture(scope="module")
def report(tmp_path_factory, answers_of):
    """Twelve samples, two repeats: three worse, one better, one without a score, one fault, a judge's claims."""
    before, now = {}, {}
    samples, scores_before, scores_now = {}, {}, {}
    for number in range(12):
        id_ = f"refund-{number:02}"
        asked = (
            ({"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Case {number}?"})
            if number % 2
            else f"May I return opened items? Case {number}"
        )
        tags = ("refunds", "safety") if number < 4 else ("refunds",)
        samples[id_] = Sample(id_, asked, reference="Yes, within 30 days.", contexts=CONTEXTS, tags=tags)
        text = f"Yes, opened items can be returned within 30 days. Case {number}."
        before[id_] = [took(text, 1.0 + number / 10), took(text, 1.1 + number / 10)]
        now[id_] = [took(text.replace("30 days", "60 days") + " Shipping is free.", 2.0), took(text, 2.0 + number)]
        scores_before[id_] = {"faithful": Score(1.0, "all supported"), "contract": Score(1.0)}
        details = {"claims": CLAIMS, "model": "judge-1"}
        worse = Score(0.25, "two of five claims are not supported", "no", details)
        scores_now[id_] = {"faithful": worse if number in {2, 5, 7} else Score(1.0), "contract": Score(1.0)}
    scores_before["refund-01"]["faithful"] = Score(0.5)
    scores_now["refund-09"]["faithful"] = Unscored("judge_error", "the judge broke")
    scores_now["refund-11"] = {"faithful": Score(0.25), "contract": Score(0.25)}
    now["refund-11"] = [Response(fault=Fault(FaultKind.SERVER, "503 <b>gone</b>"))] * 2
    specs = (MetricSpec("faithful", "faithful", deterministic=False), MetricSpec("contract", "contract"))
    header = {"samples": samples, "metrics": specs, "primary_metric": "faithful"}
    baseline = answers_of(before, version="m/1/v1", scores=scores_before, **header)
    candidate = answers_of(now, version="m/2/v1", scores=scores_now, **header)
    moved = tuple(Moved(f"refund-{number:02}", 1.0, 0.25) for number in (2, 5, 7))
    verdict = compared(candidate, baseline, moved=moved, metric="faithful")
    return write(tmp_path_factory.mktemp("report") / "report.html", candidate, baseline, verdict)


def took(text, seconds):
    return Response(output=text, latency_s=seconds, ttft_s=seconds / 4, output_tokens=9, served_model="m-1")


def ids(page):
    return page.locator("#rows tr.entry th").all_inner_texts()


def count(page):
    return page.inner_text("#count")


def search(page, words):
    """Search, and wait until everything was looked through."""
    page.fill("#search", words)
    page.locator("#table[aria-busy=false]").wait_for()


def focused(page, text):
    """Wait until the row of that sample has the focus."""
    page.locator("#rows tr.current a:focus").filter(has_text=text).wait_for()


def opened(page):
    return page.inner_text("#sample-id")


# --- reading it -------------------------------------------------------------------------------------------------------


def test_it_opens_with_the_verdict_the_charts_and_the_worst_samples_first(visit, report):
    page = visit(report)
    assert "FAIL" in page.inner_text("h1")
    assert ids(page)[:3] == ["refund-02", "refund-05", "refund-07"]
    assert count(page) == "12 samples, worst change first"
    assert page.locator("#scatter svg circle").count() >= 3
    assert page.locator("#ecdf svg path").count() >= 2
    assert page.title() == "FAIL · m/2/v1 · aigate"


@pytest.mark.parametrize(("name", "shown"), [("worse", 4), ("better", 1), ("same", 6), ("missing", 1)])
def test_samples_are_filtered_by_how_they_moved(visit, report, name, shown):
    page = visit(report)
    page.click(f"#segments [data-show={name}]")
    assert len(ids(page)) == shown
    assert page.get_attribute(f"#segments [data-show={name}]", "aria-pressed") == "true"


def test_filters_work_together_and_are_cleared_together(visit, report):
    page = visit(report)
    page.select_option("#tag", "safety")
    assert ids(page) == ["refund-02", "refund-00", "refund-03", "refund-01"]
    page.click("#segments [data-show=worse]")
    assert ids(page) == ["refund-02"]
    page.select_option("#outcome", "provider_error")
    assert count(page) == "No sample fits these filters."
    page.click("#clear")
    assert len(ids(page)) == 12
    page.select_option("#named", "no-regression faithful")
    assert ids(page) == ["refund-02", "refund-05", "refund-07"]


def test_another_metric_changes_scores_and_chart(visit, report):
    page = visit(report)
    page.select_option("#metric", "contract")
    assert page.inner_text("#segments [data-show=worse]") == "Worse 1"
    assert page.inner_text("#scatter-title").startswith("contract")


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_the_order(visit, report):
    page = visit(report)
    heading = page.get_by_role("button", name="Sample", exact=True)
    heading.click()
    assert ids(page) == sorted(ids(page))
    heading.click()
    assert ids(page) == sorted(ids(page), reverse=True)
    assert page.get_attribute("#heads th", "aria-sort") == "descending"
    heading.click()
    assert ids(page)[0] == "refund-02"
    page.get_by_role("button", name="Latency").click()
    assert page.inner_text("#rows tr.entry .c-latency") == "12 s"


@pytest.mark.parametrize(
    ("words", "hits"),
    [
        ("refund-03", ["refund-03"]),
        ("CASE 7.", ["refund-07"]),
        ("case 1.0", 0),
        ("gift unless", 12),
        ("60 days judge-1", 3),
        ("judge broke", ["refund-09"]),
        ('"faulty" nothing-like-it', 0),
        ("503 <b>gone", ["refund-11"]),
        ("[server] 503", ["refund-11"]),
    ],
)
def test_the_search_reads_ids_questions_answers_contexts_and_explanations(visit, report, words, hits):
    page = visit(report)
    search(page, words)
    assert ids(page) == hits if isinstance(hits, list) else len(ids(page)) == hits


# --- one sample -------------------------------------------------------------------------------------------------------


def test_a_sample_opens_with_its_question_both_answers_scores_and_reasons(visit, report):
    page = visit(report)
    page.get_by_text("refund-05").first.click()
    body = page.locator("#sample-body")
    body.locator(".answer").first.wait_for()
    text = body.inner_text()
    for part in ("system", "Be brief.", "Case 5?", "Yes, within 30 days.", "two of five claims", "read: no", "judge-1"):
        assert part in body.inner_text() or part in body.text_content(), part
    assert "first token" in text
    assert "9 tokens out" in text
    assert "served: m-1" in text


def test_the_words_that_differ_are_marked_and_d_takes_the_marks_away(visit, report):
    page = visit(report, fragment="#sample=refund-05")
    page.locator("#sample-body ins").first.wait_for()
    assert page.locator("#sample-body del").all_inner_texts() == ["30"]
    assert page.locator("#sample-body ins").all_inner_texts() == ["60", "Shipping is free."]
    page.keyboard.press("d")
    assert page.locator("#sample-body ins, #sample-body del").count() == 0
    assert page.get_attribute("#diff", "aria-pressed") == "false"


def test_the_worst_repeat_is_shown_and_another_can_be_chosen(visit, report):
    page = visit(report, fragment="#sample=refund-05")
    repeats = page.locator('[data-arm="candidate"] .repeats button')
    assert repeats.count() == 2
    repeats.nth(1).click()
    assert page.locator("#sample-body ins").count() == 0
    assert "60 days" not in page.inner_text('[data-arm="candidate"]')
    assert page.evaluate("document.activeElement.textContent") == repeats.nth(1).inner_text()


def test_claims_stand_beside_their_contexts_with_the_evidence_marked(visit, report):
    page = visit(report, fragment="#sample=refund-05")
    page.locator(".claims").wait_for()
    claims = page.locator(".claims > li")
    assert [claims.nth(at).get_attribute("class") for at in range(5)] == ["good", "good", "bad", "", ""]
    assert "not supported" in claims.nth(2).inner_text()
    assert "It is not." in claims.nth(2).inner_text()
    assert "stands in none of the contexts" in claims.nth(2).inner_text()
    marks = page.locator("mark")
    marked = {at: [] for at in "124"}
    for mark in range(marks.count()):
        for number in marks.nth(mark).get_attribute("data-claims").split():
            marked[number].append(marks.nth(mark).evaluate("mark => mark.firstChild.textContent"))
    assert marked == {
        "1": ["Opened items may be returned"],
        "2": ["within 30 days of delivery"],
        "4": ["unless the item was “faulty”"],
    }
    claims.nth(1).get_by_role("button").click()
    assert page.locator("mark.found").all_inner_texts() == ["within 30 days of delivery2"]


def test_a_fault_stands_where_its_answer_would_be(visit, report):
    page = visit(report, fragment="#sample=refund-11")
    page.locator(".answer").first.wait_for()
    assert "[server] 503 <b>gone</b>" in page.inner_text('[data-arm="candidate"]')
    assert "provider error" in page.inner_text('[data-arm="candidate"]')


def test_a_missing_score_says_why(visit, report):
    page = visit(report, fragment="#sample=refund-09")
    page.locator(".scores-of").wait_for()
    assert "not scored: judge error" in page.inner_text(".scores-of")
    assert "the judge broke" in page.inner_text(".scores-of")


def test_the_address_of_what_is_shown_can_be_sent_to_somebody(visit, report):
    page = visit(report)
    page.click("#segments [data-show=worse]")
    page.select_option("#tag", "safety")
    page.click("#rows tr.entry")
    page.locator(".answer").first.wait_for()
    fragment = "#" + page.url.partition("#")[2]
    again = visit(report, fragment=fragment)
    again.locator(".answer").first.wait_for()
    assert opened(again) == "refund-02"
    again.keyboard.press("Escape")
    focused(again, "refund-02")
    assert ids(again) == ["refund-02"]


# --- keyboard, sizes, print, without scripts --------------------------------------------------------------------------


def test_everything_can_be_done_with_the_keyboard(visit, report):
    page = visit(report)
    page.keyboard.press("2")
    assert len(ids(page)) == 4
    for key, row in [("j", "refund-02"), ("j", "refund-05"), ("k", "refund-02")]:
        page.keyboard.press(key)
        focused(page, row)
    page.keyboard.press("Enter")
    page.locator(".answer").first.wait_for()
    assert opened(page) == "refund-02"
    for key, shown in [("ArrowRight", "refund-05"), ("j", "refund-07"), ("ArrowLeft", "refund-05")]:
        page.keyboard.press(key)
        page.locator("#sample-id").filter(has_text=shown).wait_for()
    page.keyboard.press("Escape")
    focused(page, "refund-05")
    page.keyboard.press("/")
    page.keyboard.type("jk2")
    assert page.input_value("#search") == "jk2"
    page.keyboard.press("Escape")
    assert page.input_value("#search") == ""
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.locator("#keys").wait_for(state="hidden")


def test_single_keys_can_be_switched_off(visit, report):
    page = visit(report)
    page.click("#help")
    page.uncheck("#shortcuts")
    page.click("#keys-close")
    page.keyboard.press("2")
    assert len(ids(page)) == 12


def test_every_key_that_works_is_documented(visit, report):
    page = visit(report)
    listed = set(page.locator("#keys kbd").all_text_contents())
    assert listed == {"/", "j", "k", "Enter", "←", "→", "d", "1", "5", "t", "Esc", "?"}


def test_what_has_the_focus_is_outlined(visit, report):
    page = visit(report)
    for _ in range(12):
        page.keyboard.press("Tab")
        width = page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert (width >= 2, style) == (True, "solid")


def luminance(colour):
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


CONTRASTS = """
() => [...document.querySelectorAll("main *, dialog[open] *")].flatMap((element) => {
  const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!text || !element.checkVisibility() || element.closest("svg, :disabled, .hidden, noscript")) return [];
  let ground = element;
  while (ground && getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const [ink, behind] = [getComputedStyle(element).color, getComputedStyle(ground ?? document.body).backgroundColor];
  return [[element.className || element.tagName, ink, behind]];
})
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_in_both_themes(visit, report, scheme):
    page = visit(report, color_scheme=scheme, fragment="#sample=refund-05")
    page.locator(".claims").wait_for()
    found = page.evaluate(CONTRASTS)
    assert len(found) > 60
    poor = []
    for name, ink, ground in found:
        low, high = sorted([luminance(ink), luminance(ground)])
        if (high + 0.05) / (low + 0.05) < 4.5:
            poor.append((name, ink, ground))
    assert poor == []


def test_the_theme_follows_the_system_and_can_be_chosen(visit, report):
    page = visit(report, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.keyboard.press("t")
    light = page.evaluate(ground)
    page.keyboard.press("t")
    assert page.evaluate(ground) == dark != light
    assert page.inner_text("#theme") == "Theme: dark"
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert page.inner_text("#theme") == "Theme: dark"


def test_every_control_has_a_name_and_tables_have_headings(visit, report):
    page = visit(report)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, a")].filter((element) =>
        !element.textContent.trim() && !element.getAttribute("aria-label") && !element.closest("label"))
        .map((element) => element.outerHTML)"""
    )
    assert nameless == []
    assert page.get_attribute("#table", "aria-rowcount") == "13"
    assert (
        page.locator("table.samples th[scope=col]").count()
        == page.locator("#rows tr.entry").first.locator("> *").count()
    )
    assert page.locator("[role=search]").count() == 1


def test_it_is_readable_on_a_phone(visit, report):
    page = visit(report, width=360, height=740, is_mobile=True, has_touch=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator("#rows tr.entry").first.tap()
    page.locator(".answer").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.getElementById('sample-body').scrollWidth <= 360")


def test_on_a_phone_a_bound_stands_in_sight_beside_the_longest_status(visit, tmp_path, answers_of):
    run = answers_of({"a": [took("x", 1.0)]})
    verdict = compared(run, run)
    verdict = replace(verdict, checks=(replace(verdict.checks[0], status=Status.INCONCLUSIVE),))
    page = visit(write(tmp_path / "report.html", run, run, verdict), width=360, height=740)
    cells = "[...document.querySelectorAll('.checks tbody :is(td, th)')]"
    assert page.evaluate(f"Math.max(...{cells}.map((cell) => cell.getBoundingClientRect().right))") <= 360


def test_it_prints_the_verdict_and_the_samples_that_moved_in_light_colours(visit, report):
    page = visit(report, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("article.moved").first.is_visible()
    assert not page.locator(".filters").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_verdict_checks_and_worst_samples_are_there(visit, report):
    page = visit(report, java_script_enabled=False)
    assert "FAIL" in page.inner_text("h1")
    assert page.locator("svg.forest").count() == 1
    assert page.locator("article.moved").count() == 3
    assert page.locator("noscript p").is_visible()
    assert not page.locator(".filters").is_visible()


# --- hostile answers --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, answers_of):
    """Every hostile text as id, question, context, answer, fault, explanation, claim, tag, metric and suite."""
    samples, before, now, scores = {}, {}, {}, {}
    metric = "<script>window.pwned=1</script>"
    for number, text in enumerate(HOSTILE):
        id_ = f"{number}{text[:200]}"
        samples[id_] = Sample(
            id_,
            ({"role": text[:50], "content": text}, {"role": "user", "content": [{"type": "text", "text": text}]}),
            reference={text[:100] or "key": text},
            contexts=(text, f"before {text} after"),
            tags=(text[:100] or "empty",),
            metadata={text[:100] or "key": [text]},
        )
        details = {
            "claims": [{"text": text, "verdict": text[:80], "quote": text, "reason": text}, None, 7, [text]],
            text[:50]: text,
        }
        scores[id_] = {metric: Score(number % 2, text, text, details), "__proto__": Unscored("judge_error", text)}
        before[id_] = [Response(output=f"{text} before", served_model=text[:100], finish_reason=text[:100])]
        now[id_] = [Response(output=text, latency_s=0.0)]
        if number % 5 == 4:
            now[id_] = [Response(fault=Fault(FaultKind.SERVER, text))]
    specs = (MetricSpec(metric, metric, deterministic=False), MetricSpec("__proto__", "x", deterministic=False))
    header = {
        "samples": samples,
        "metrics": specs,
        "primary_metric": metric,
        "suite_name": HOSTILE[1],
        "scores": scores,
    }
    baseline = answers_of(before, version="m/1/v1", **header)
    candidate = answers_of(now, version="m/2/v1", **header)
    moved = tuple(Moved(id_, 1.0, 0.0, HOSTILE[0]) for id_ in samples)
    row = {
        "tag": HOSTILE[2],
        "n": 9,
        "baseline_mean": 0.9,
        "candidate_mean": 0.5,
        "difference": -0.4,
        "p": 0.1,
        "q": 0.01,
    }
    verdict = compared(candidate, baseline, moved=moved, metric=metric, slices=[row])
    return write(tmp_path_factory.mktemp("hostile") / "hostile.html", candidate, baseline, verdict, shown=30)


def test_nothing_that_a_model_wrote_runs_or_breaks_the_page(visit, hostile):
    page = visit(hostile)
    assert count(page).startswith(f"{len(HOSTILE)} samples")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    for at in range(len(HOSTILE)):
        page.locator("#sample-place").filter(has_text=re.compile(rf"^{at + 1} of ")).wait_for()
        page.locator("#sample-body .scores-of").wait_for()
        page.keyboard.press("ArrowRight")
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.evaluate("document.querySelectorAll('main img, dialog img, dialog script, dialog style').length") == 0
    assert page.evaluate("({}).pwned") is None


def test_what_cannot_be_seen_or_reorders_is_shown_by_its_number(visit, hostile):
    page = visit(hostile)
    number = next(at for at, text in enumerate(HOSTILE) if "\u202e" in text)
    search(page, "gnp.exe")
    assert count(page).startswith("1 of")
    page.click("#rows tr.entry")
    page.locator(".answer").first.wait_for()
    assert opened(page).startswith(f"{number}U+202E")
    text = page.text_content("#sample-body")
    assert "U+202Egnp.exeU+202C" in text
    assert "\u202e" not in text
    for words, shown in [("lone", "U+D800 lone U+DFFF"), ("hidden", "U+E0041U+E0042")]:
        page.keyboard.press("Escape")
        search(page, words)
        page.click("#rows tr.entry")
        page.locator(".answer").first.wait_for()
        assert shown in page.text_content("#sample-body")


def test_arabic_is_read_from_the_right_and_does_not_turn_its_neighbours(visit, hostile):
    page = visit(hostile)
    number = next(at for at, text in enumerate(HOSTILE) if text.startswith("م"))
    search(page, HOSTILE[number])
    assert count(page).startswith("1 of")
    page.click("#rows tr.entry")
    answer = page.locator('[data-arm="candidate"] pre')
    answer.wait_for()
    assert answer.evaluate("pre => getComputedStyle(pre).direction") == "rtl"
    assert page.locator("#sample-body").evaluate("body => getComputedStyle(body).direction") == "ltr"


def test_megabytes_are_cut_and_say_so(visit, hostile):
    page = visit(hostile)
    search(page, "more characters in the run file")
    assert count(page).startswith("1 of")
    page.click("#rows tr.entry")
    page.locator(".answer").first.wait_for()
    assert "1,900,000 more characters in the run file" in page.text_content('[data-arm="candidate"]')
    assert "too long for a word diff" in page.inner_text("#sample-body")


def test_the_policy_stops_what_would_run_all_the_same(browser, hostile):
    context = browser.new_context()
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(hostile.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    ran = page.evaluate(
        """() => {
          const script = document.createElement("script");
          try { script.textContent = "window.pwned = 1"; document.body.append(script); } catch {}
          try { document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.pwned=2'>"); } catch {}
          return typeof window.pwned;
        }"""
    )
    fetched = page.evaluate("() => fetch('http://127.0.0.1:9/').then(() => 'got', () => 'refused')")
    context.close()
    assert (ran, fetched) == ("undefined", "refused")
    assert any("Content Security Policy" in told for told in complaints)


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory, answers_of):
    """2,000 samples with three kilobytes of text each."""
    return _large(tmp_path_factory.mktemp("large") / "large.html", answers_of, 2_000)


def _large(path, answers_of, n):
    words = [f"{first}{second}" for first in "bcdfghklmnprst" for second in ("ain", "old", "ure", "est", "ing", "ome")]
    before, now, samples, scores = {}, {}, {}, {}
    for number in range(n):
        drawn = random.Random(number)  # noqa: S311 - not for secrets
        id_ = f"sample-{number:05}"
        text = " ".join(drawn.choices(words, k=90))
        samples[id_] = Sample(
            id_, " ".join(drawn.choices(words, k=20)), contexts=(" ".join(drawn.choices(words, k=330)),)
        )
        before[id_] = [took(text, drawn.lognormvariate(0, 1))]
        now[id_] = [took(text.replace("ing", "ed"), drawn.lognormvariate(0.2, 1))]
        scores[id_] = Score(round(drawn.random(), 3))
    baseline = answers_of(before, version="m/1/v1", samples=samples)
    candidate = answers_of(now, version="m/2/v1", samples=samples, scores=scores)
    return write(path, candidate, baseline, compared(candidate, baseline))


def test_two_thousand_samples_are_small_and_ready_within_a_second(browser, large):
    assert large.stat().st_size < 5_000_000
    context = browser.new_context()
    page = context.new_page()
    client = context.new_cdp_session(page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(large.as_uri())
    page.wait_for_selector("html[data-ready][data-charts]", state="attached")
    worked = {m["name"]: m["value"] for m in client.send("Performance.getMetrics")["metrics"]}["TaskDuration"]
    drawn = page.locator("#rows tr.entry").count()
    context.close()
    assert 0 < worked < 1.0
    assert 0 < drawn < 100


def test_of_many_samples_only_those_in_sight_are_in_the_page_and_the_last_one_opens(visit, large):
    page = visit(large)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.get_by_role("button", name="Sample", exact=True).click()
    page.evaluate("document.getElementById('about').scrollIntoView({behavior: 'instant'})")
    last = page.get_by_text("sample-01999")
    last.wait_for()
    assert page.locator("#rows tr.entry").count() < 100
    last.click()
    page.locator(".answer").first.wait_for()
    assert page.inner_text("#sample-place") == "2000 of 2000"
    page.keyboard.press("Escape")
    search(page, "sample-01234")
    assert count(page).startswith("1 of")
    assert ids(page) == ["sample-01234"]


def counting(page):
    """Count what the page unpacks and parses from here on."""
    page.evaluate(
        """() => {
          window.counted = { parsed: 0, unpacked: 0 };
          const [parse, Unpacks] = [JSON.parse, DecompressionStream];
          JSON.parse = (...given) => (window.counted.parsed++, parse(...given));
          window.DecompressionStream = function (kind) { window.counted.unpacked++; return new Unpacks(kind); };
        }"""
    )
    return lambda: tuple(page.evaluate("[counted.parsed, counted.unpacked]"))


def test_a_search_parses_nothing_and_unpacks_each_block_once(visit, large):
    page = visit(large)
    counts = counting(page)
    search(page, "bain cold")
    blocks = page.locator(".block").count()
    assert counts() == (0, blocks)
    assert blocks > 10
    search(page, "bold")
    search(page, "sample-01234")
    assert ids(page) == ["sample-01234"]
    assert counts() == (0, blocks)


def test_what_the_table_shows_is_found_before_anything_is_unpacked(visit, large):
    page = visit(large)
    idle = "{ writable: new WritableStream(), readable: new ReadableStream() }"
    page.evaluate(f"window.DecompressionStream = function () {{ return {idle}; }}")
    page.fill("#search", "sample-01234")
    page.locator("#table[aria-busy=true]").wait_for()
    page.locator("#count").filter(has_text="1 of 2000 samples").wait_for()
    assert ids(page) == ["sample-01234"]


def test_going_down_by_keyboard_keeps_the_row_in_sight(visit, large):
    page = visit(large)
    for _ in range(60):
        page.keyboard.press("j")
    place = page.evaluate("document.activeElement.closest('tr').dataset.place")
    top, bottom = page.evaluate(
        "(() => { const box = document.activeElement.getBoundingClientRect(); return [box.top, box.bottom]; })()"
    )
    assert place == "59"
    assert 0 < top < bottom < 900
    assert page.locator("tr.current").count() == 1
