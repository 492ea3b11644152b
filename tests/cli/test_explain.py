"""`aigate explain`: pages of a name, all pages, and the names there are."""

import pytest

from aigate.cli.main import main
from aigate.gating.reasons import REASONS


def explain(capsys, *arguments):
    code = main(["explain", *arguments])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("no-regression", ["no-regression (check)", "options:", "margin", "reason codes: drop", "example: { check ="]),
        ("drop", ["drop (reason code)", "given by: no-regression", "next: "]),
        ("comparable", ["comparable (rule)", "other-scorer"]),
        ("includes", ["includes (scorer)", 'example: scorers = ["includes"]']),
        ("3", ["3 (exit code)", "inconclusive"]),
        ("must-pass", ["must-pass (check)", "must-pass (reason code)"]),
    ],
)
def test_a_name_has_its_page(capsys, name, parts):
    code, out, _ = explain(capsys, name)
    assert code == 0
    assert [part for part in parts if part not in out] == []


def test_without_a_name_every_name_is_listed(capsys):
    code, out, _ = explain(capsys)
    assert code == 0
    assert [name for name in ("min-score", "exact_match", "130", *REASONS) if name not in out] == []


def test_every_page_at_once_is_a_document(capsys):
    code, out, _ = explain(capsys, "--all", "--format", "markdown")
    assert code == 0
    assert out.startswith("## `")
    assert [name for name in REASONS if f"## `{name}` (reason code)" not in out] == []
    assert "| `margin` |" in out


def test_an_unknown_name_names_the_nearest(capsys):
    code, _, err = explain(capsys, "dorp")
    assert code == 2
    assert "did you mean 'drop'?" in err


def test_a_name_and_all_are_two_wishes(capsys):
    code, _, err = explain(capsys, "drop", "--all")
    assert code == 2
    assert "leave one of them out" in err
