"""ragas by itself beside our scorers: what the comparison counts, and that no judge's defect raises a score of ours."""

import gzip
import json

import pytest

import ragas_side_by_side as side

pytestmark = [pytest.mark.integration, pytest.mark.ragas]
CONTEXTS = ["Opened items may be returned within 45 days. Refunds take 5 working days.", "Shipping is free."]
ANSWERS = [
    "Opened items may be returned within 45 days. Pigs can fly to the moon.",
    "The moon is made of old cheese. Refunds take 5 working days. Shipping is free.",
    "Refunds take 5 working days. Dogs bark at night.",
]


@pytest.fixture
def cases(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))  # ragas writes its user's id there
    (tmp_path / "recorded").mkdir()
    samples = [{"id": f"s{n}", "input": "What of returns?", "contexts": CONTEXTS} for n in range(len(ANSWERS))]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    with gzip.open(tmp_path / "recorded" / "m.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"id": f"s{n}", "output": text}) + "\n" for n, text in enumerate(ANSWERS))
    return side.cases_of(tmp_path)


def test_a_careful_judge_gets_the_same_scores_for_the_same_calls(cases):
    found = side.asked_all_ways(cases, side.judge_with(side.Defect("")))
    assert found.scores["ragas"] == pytest.approx({"s0": 1 / 2, "s1": 2 / 3, "s2": 1 / 2})
    assert found.scores["ragas"] == found.scores[side.ADAPTED] == found.scores[side.OWN]
    assert set(found.requests.values()) == {6}


@pytest.mark.parametrize("defect", side.DEFECTS, ids=lambda defect: defect.told)
def test_no_defect_raises_a_score_of_ours(cases, defect):
    found = side.asked_all_ways(cases, side.judge_with(defect))
    honest = {"s0": 1 / 2, "s1": 2 / 3, "s2": 1 / 2}
    for way in (side.ADAPTED, side.OWN):
        assert all(value <= honest[id_] for id_, value in found.scores[way].items())
        assert len(found.scores[way]) + len(found.errors[way]) == len(cases)


def test_the_script_says_what_data_it_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["ragas_side_by_side.py", str(tmp_path)])
    assert side.main() == 2
    assert "RAGTruth" in capsys.readouterr().err
