"""The whole gate says what the array rule says, and the comparison would show it if not."""

from rates import gated, rules


def test_gate_and_array_rule_agree():
    found = gated.agreement(48)
    assert found["cases"] == 48
    assert found["disagree"] == 0
    assert min(found["block"], found["pass"], found["undecided"]) > 0
    assert found["close"] < 12


def test_a_rule_that_is_not_the_gates_is_caught(monkeypatch):
    monkeypatch.setattr(rules, "verdict", lambda d, plan, random, *, binary: rules.Outcome("pass", len(d)))
    assert gated.agreement(24)["disagree"] > 6


def test_cost_is_measured_in_a_process_of_its_own():
    found = gated.cost(n=60, metrics=2, slices=2, looks=1)
    assert 0.0 < found["seconds"] < 60.0
    assert 10.0 < found["before"] <= found["mebibytes"]
