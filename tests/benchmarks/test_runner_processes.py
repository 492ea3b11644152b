"""A process is measured from start to exit, with its children, and ended when it takes too long."""

import os
import sys

import pytest

from contest.processes import busy_share, clean_environ, measured


@pytest.fixture
def run(tmp_path):
    def run(code, *, limit_s=60.0, **more):
        environ = clean_environ(tmp_path, {"PATH": "/usr/bin"})
        return measured([sys.executable, "-c", code], folder=tmp_path, environ=environ, limit_s=limit_s, **more)

    return run


def test_wall_cpu_memory_and_exit_code_are_told(run):
    found = run("import time; x = b'x' * 60_000_000; time.sleep(0.3); sum(range(10**6)); raise SystemExit(3)")
    assert found.code == 3
    assert found.wall_s >= 0.3
    assert found.cpu_s > 0
    assert found.peak_mb >= 60
    assert not found.timed_out


def test_children_count_towards_cpu_and_memory(run):
    child = "import time; x = b'x' * 80_000_000; [i * i for i in range(3_000_000)]; time.sleep(0.5)"
    alone = run("pass")
    found = run(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    assert found.peak_mb >= 80 + alone.peak_mb / 2  # both together, not the larger one
    assert found.cpu_s > alone.cpu_s


def test_lines_of_standard_error_have_their_times(run):
    found = run("import sys, time\nfor i in (1, 2): print(i, file=sys.stderr, flush=True); time.sleep(1.0)")
    assert [text for _, text in found.lines] == ["1", "2"]
    assert found.lines[1][0] - found.lines[0][0] > 0.1
    assert found.tail == "1\n2"


def test_standard_output_is_kept_in_the_folder(run, tmp_path):
    run("print('said')")
    assert (tmp_path / "stdout.txt").read_text() == "said\n"


def test_what_takes_too_long_is_killed_with_its_children(run):
    found = run("import subprocess, sys; subprocess.run(['sleep', '600'])", limit_s=1.0)
    assert found.timed_out
    assert found.code == -9
    assert found.wall_s < 300


def test_it_is_killed_at_the_moment_that_is_chosen(run, tmp_path):
    found = run(
        "import pathlib, time; pathlib.Path('there').touch(); time.sleep(600)",
        kill_when=lambda: (tmp_path / "there").exists(),
    )
    assert (found.code, found.timed_out) == (-9, False)


def test_no_proxy_and_no_key_of_the_user_get_in(tmp_path):
    given = {"PATH": "/bin", "HTTPS_PROXY": "http://x", "OPENAI_API_KEY": "secret", "PYTHONDONTWRITEBYTECODE": "1"}
    environ = clean_environ(tmp_path, given)
    assert environ.keys().isdisjoint({"HTTPS_PROXY", "PYTHONDONTWRITEBYTECODE"})
    assert environ["OPENAI_API_KEY"] == "none"


def test_how_busy_the_machine_is_is_a_share():
    assert 0.0 <= busy_share(0.05) <= 1.0


def test_what_resides_in_whoever_measures_is_not_the_programs(run):
    held = bytearray(os.urandom(1 << 20) * 200)
    found = run("import time; time.sleep(0.3)")
    assert len(held) == 200 << 20
    assert found.peak_mb < 100
