"""pytest-benchmark shows the latencies of a run, replayed from the run."""

import json

import pytest

pytestmark = pytest.mark.integration

OTHERS = [word for name in ("hypothesispytest", "anyio") for word in ("-p", f"no:{name}")]


def run(suites, *arguments):
    return suites.run_process(*OTHERS, *arguments)


def benchmarks(suites):
    return json.loads((suites.root / "bench.json").read_text())


def test_a_suite_has_a_test_of_its_latencies(suites):
    suites.write()
    result = run(suites, "goldens", "--aigate-collect", "--benchmark-json", "bench.json")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["*benchmark 'aigate latency': 1 tests*", "latency[[]faq[]]*"])
    whole = benchmarks(suites)
    [found] = whole["benchmarks"]
    assert found["stats"]["rounds"] == 60
    assert (found["stats"]["min"], found["stats"]["max"]) == pytest.approx((0.5, 1.09))
    assert found["stats"]["data"] == pytest.approx([0.5 + n / 100 for n in range(60)])
    assert found["extra_info"]["aigate"]["p50_s"]["estimate"] == pytest.approx(0.79)
    assert found["extra_info"]["aigate"]["p99_s"]["high"] is None  # 60 answers show no upper bound of it
    assert [verdict["verdict"]["status"] for verdict in whole["aigate"]["verdicts"]] == ["pass"]


def test_a_test_with_the_fixture_appears_under_its_own_name(suites):
    suites.write()
    suites.test()
    run(suites, "--benchmark-json", "bench.json").assert_outcomes(passed=1)
    [found] = benchmarks(suites)["benchmarks"]
    assert (found["name"], found["group"], found["stats"]["rounds"]) == ("test_bot", "aigate latency", 60)


def test_a_test_that_uses_the_fixture_of_benchmark_keeps_it(suites):
    suites.write()
    (suites.root / "test_bot.py").write_text(
        'import pytest\n\n@pytest.mark.aigate(suite="goldens/faq")\ndef test_bot(aigate, benchmark):\n'
        "    assert benchmark.pedantic(lambda: 7, rounds=3) == 7\n"
        "    aigate.evaluate().gate().raise_for_status()\n"
    )
    run(suites, "--benchmark-json", "bench.json").assert_outcomes(passed=1)
    [found] = benchmarks(suites)["benchmarks"]
    assert found["stats"]["rounds"] == 3


@pytest.mark.parametrize("flag", ["--benchmark-disable", "--benchmark-skip"])
def test_where_it_is_switched_off_verdicts_stand_alone(suites, flag):
    suites.write()
    suites.test()
    result = run(suites, "goldens", ".", "--aigate-collect", flag)
    assert result.ret == 0
    assert "aigate latency" not in result.stdout.str()


def test_benchmark_only_runs_the_latencies(suites):
    suites.write()
    result = run(suites, "goldens", "--aigate-collect", "--benchmark-only")
    result.assert_outcomes(passed=1, skipped=7)


def test_a_comparison_of_benchmarks_decides_nothing_about_verdicts(suites):
    suites.write()
    run(suites, "goldens", "--aigate-collect", "--benchmark-autosave").assert_outcomes(passed=8)
    result = run(suites, "goldens", "--aigate-collect", "--benchmark-compare", "--benchmark-compare-fail=mean:5%")
    result.assert_outcomes(passed=8)
    assert result.ret == 0


def test_it_runs_under_xdist_and_with_warnings_as_errors(suites):
    suites.write()
    suites.test()
    result = run(suites, "goldens", ".", "--aigate-collect", "-W", "error", "-p", "no:cacheprovider")
    assert result.ret == 0
    result = run(suites, "goldens", ".", "--aigate-collect", "-n", "2", "--benchmark-disable")
    assert result.ret == 0


def test_answers_without_a_latency_are_no_benchmark(suites):
    folder = suites.write()
    answers = (folder / "answers.jsonl").read_text().splitlines()
    without = [json.dumps({k: v for k, v in json.loads(row).items() if k != "latency_s"}) for row in answers]
    (folder / "answers.jsonl").write_text("\n".join(without) + "\n")
    result = run(suites, "goldens", "--aigate-collect", "-rs")
    result.assert_outcomes(passed=7, skipped=1)
    result.stdout.fnmatch_lines(["*no answer of the run has a latency*"])
