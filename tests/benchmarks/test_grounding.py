"""The fit behind the scorer `grounding`: what it finds, what it never finds, and folds that keep documents whole."""

import gzip
import json

import numpy as np
import pytest

import grounding

KNOWN, STRANGE = ([f"{letter}{other}" for other in "bcdfghjklm"] for letter in "ae")


def rows(random, n):
    """Answers of which those with strange words are labelled; four to a document."""
    made = []
    for i in range(n):
        strange = int(random.integers(0, 7))
        words = [*random.choice(KNOWN, 12), *STRANGE[:strange]]
        row = {"context": " ".join(KNOWN), "response": " ".join(words), "model": f"m{i % 2}"}
        made.append(
            {**row, "source_id": str(i // 4), "task": f"t{i % 3}", "hallucinated": bool(random.random() < strange / 6)}
        )
    return made


def test_the_fit_finds_what_is_there_and_no_negative_weight(random):
    features = random.random((4000, 3))
    chance = 1.0 / (1.0 + np.exp(-(4.0 * features[:, 0] - 3.0 * features[:, 1] - 1.0)))
    weights = grounding.fitted(features, (random.random(4000) < chance).astype(float))
    assert weights[0] == pytest.approx(4.0, abs=0.7)
    assert weights[1] == 0.0
    assert 0.0 <= weights[2] < 0.4


def test_folds_keep_documents_whole_and_are_all_used():
    groups = np.array([str(i // 3) for i in range(90)])
    found = grounding.folds(groups, seed=1)
    assert all(len(set(found[groups == group])) == 1 for group in groups)
    assert set(found) == set(range(grounding.FOLDS))


def test_a_row_is_scored_by_weights_that_never_saw_its_part(random):
    data = grounding.table(rows(random, 60))
    parts = np.arange(60) % 2
    scores = grounding.elsewhere(data, parts)
    weights = grounding.fitted(data.features[parts == 1], data.labels[parts == 1])
    assert scores[0] == pytest.approx(float(data.features[0] @ weights[:-1]))


def test_within_takes_no_credit_for_telling_tasks_apart(random):
    data = grounding.table(rows(random, 120))
    by_task = np.array([float(task[1]) for task in data.tasks])
    assert grounding.within(data, by_task) == pytest.approx(0.5)
    assert grounding.within(data, data.shipped) > 0.7


def test_the_script_says_where_the_source_holds_other_weights(random, tmp_path, monkeypatch, capsys):
    for name in ("ragtruth", "begin_wow"):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows(random, 120))
    monkeypatch.setattr("sys.argv", ["grounding.py", str(tmp_path)])
    monkeypatch.setattr(grounding, "SHUFFLES", 2)
    assert grounding.main() == 1
    said = capsys.readouterr()
    assert "the source holds other weights: words_absent" in said.err
    assert "| all | 120 |" in said.out


def test_the_script_says_what_data_it_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["grounding.py", str(tmp_path)])
    assert grounding.main() == 2
    assert "ParticleMedia/RAGTruth" in capsys.readouterr().err
