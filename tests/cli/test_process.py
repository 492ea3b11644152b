"""The command as a process of its own: it ends at once, and nothing that others wanted done at the end is left out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOML = """\
version = "m/1/v1"
provider = "callable"
scorers = ["exact_match"]

[policy]
checks = [{ check = "min-score", metric = "exact_match", at-least = 0.5 }]
"""
CODE = """\
import atexit
import threading
import time


def answer(text):
    return text


def late():
    time.sleep(0.3)
    print("the thread ended")


atexit.register(print, "traces were sent")
threading.Thread(target=late).start()
"""
SCRIPTS = {"module": ["-m", "aigate"], "script": [str(Path(sys.executable).with_name("aigate"))]}


def ended(place, *before, reference="say {i}"):
    """A process that runs the command on code that wants something done at exit; its output is a pipe, so buffered."""
    (place.folder / "answers.py").write_text(CODE, encoding="utf-8")
    rows = [{"id": f"s{i:02}", "input": f"say {i}", "reference": reference.format(i=i)} for i in range(60)]
    place.write_suite(toml=TOML, samples=rows)
    environ = {**os.environ, "PYTHONPATH": str(place.folder)}
    command = [sys.executable, *before, "eval", "--suite", str(place.suite), "--target", "answers:answer"]
    return subprocess.run(command, cwd=place.folder, env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("before", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize(("reference", "code"), [("say {i}", 0), ("something else", 1)], ids=["pass", "fail"])
def test_threads_end_and_what_was_registered_is_called(place, before, reference, code):
    done = ended(place, *before, reference=reference)
    assert done.returncode == code, done.stderr
    assert done.stdout.split("\n")[-3:] == ["the thread ended", "traces were sent", ""]


def test_nothing_is_left_to_the_interpreter_but_what_came_before(place):
    watched = "import atexit, runpy, sys; atexit.register(print, 'a tracer'); sys.argv[0] = 'x'"
    script = place.folder / "aigate"
    script.write_text(f"{watched}\nfrom aigate.__main__ import main\nsys.exit(main())\n", encoding="utf-8")
    done = ended(place, str(script))
    assert (done.returncode, done.stdout.split("\n")[-2:]) == (0, ["a tracer", ""]), done.stderr


def test_a_script_that_goes_on_after_it_has_an_exit_code_of_its_own(place):
    script = place.folder / "more.py"
    script.write_text("import sys\nfrom aigate.__main__ import main\nprint(main())\nsys.exit(7)\n", encoding="utf-8")
    done = ended(place, str(script))
    assert done.returncode == 7, done.stderr
