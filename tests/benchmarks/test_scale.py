"""The suite of the scale benchmark is what it says, and what is wrong is told."""

import scale
from aigate.goldens.samples import load_samples
from aigate.providers.replay import load_recorded


def document(**changes):
    row = dict.fromkeys(("wall_s", "load_s", "score_s", "decide_s", "cpu_s", "busy"), 0.05) | {"problems": []}
    row |= {"name": "against a baseline: all", "per_s": 25_000.0, "peak_mb": 900.0}
    whole = {"mode": "full", "size": 1_000, "date": "2026-01-01", "floor_s": 1.0, "problems": [], "rows": [row]}
    return whole | {"machine": {"python": "3", "system": "Linux", "cores": 2, "load": 0.0}} | changes


def test_recordings_are_right_as_often_as_they_are_said_to_be(tmp_path):
    right = scale.write_suite(tmp_path, 2_000)
    samples = load_samples(tmp_path / "samples.jsonl")
    for name, share in scale.RIGHT.items():
        answers = load_recorded(tmp_path / f"{name}.jsonl").answers
        assert right[name] == sum(answers[sample.id, 0].output == sample.reference for sample in samples)
        assert abs(right[name] / 2_000 - share) < 0.03


def test_a_target_that_is_missed_and_a_wrong_figure_stand_on_the_page():
    assert scale.missed_targets(document()) == []
    assert "no target missed" in scale.page(document())
    slow = document()
    slow["rows"][0] |= {"per_s": 19_000.0, "peak_mb": 1_100.0}
    assert len(scale.missed_targets(slow)) == 2
    assert "19,000 samples/s, expected 20,000" in scale.page(slow)
    assert "Wrong: lost one." in scale.page(document(problems=["lost one"]))
