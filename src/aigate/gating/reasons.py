"""Every reason code a verdict may carry, with its meaning. The codes are part of the contract: never renamed."""

from __future__ import annotations

from collections.abc import Mapping

from aigate.core.verdict import Reason

__all__ = ["REASONS", "reason"]

REASONS: Mapping[str, str] = {
    "below-threshold": "The mean is below the threshold even when every missing score is counted as the best.",
    "cannot-fail": "The bound of a check is one that nothing can miss.",
    "cost": "Answers cost more than allowed.",
    "cost-unknown": "Some answers do not say what they cost, and no price is known.",
    "contract-unchecked": "The model or provider version changed and no check looks at the output's contract or shape.",
    "anchor-unused": "An anchor was named, and nothing is compared with it.",
    "baseline-rejudged": "The baseline's answers were judged again, by the judge of the candidate.",
    "baseline-unsound": "The baseline run is no ground to compare with.",
    "calibration-stale": "The metric is computed in another way than when its judge was held against people's labels.",
    "drop": "The metric fell: the relabelling test blocks, and at least half the margin is observed.",
    "early-stopped": "The run was stopped before the whole suite was asked.",
    "error-rate": "More answers failed to come back than allowed.",
    "fewer-than-two-samples": "A single sample, or none, decides nothing.",
    "fingerprint-changed": "The provider's system fingerprint is not that of the baseline.",
    "from-journal": "Answers were taken from the journal: what the provider answers by now is not shown.",
    "groups-may-break-whole": "With so few groups, a pass does not cover groups that break whole.",
    "margin-auto": "The suite chose the margin: the smallest one that it can show.",
    "latency": "The quantile of the latency is shown to be above the bound.",
    "latency-left-out": "Some answers say nothing of latency: they are from the journal, or were not timed.",
    "latency-not-bounded": "Too few answers to bound the quantile of the latency.",
    "latency-undecided": "The answers do not show on which side of the bound the latency lies.",
    "load-differs": "The runs were measured under different loads, so that their latencies cannot be compared.",
    "judge-uncalibrated": "Nobody measured how far the judge of the metric says what people say.",
    "labels-not-random": "The samples that people labelled are plainly no random part of the suite.",
    "labels-unusable": "A label of people is no number from 0 to 1.",
    "judge-anchors-missing": "Labelled answers were not judged, or are not the baseline's: drift is not seen.",
    "judge-changed": "The judge was served by another model than in the baseline.",
    "judge-drifted": "The judge no longer says of labelled answers what it said in the baseline.",
    "judge-served": "Another model than the declared judge was served.",
    "judge-steered": "Answers talk to the judge instead of answering.",
    "looks-incomplete": "The planned looks do not cover the run.",
    "measured-apart": "The latencies that are compared were measured on different days, or elsewhere.",
    "metric-missing": "Every score of the metric is missing.",
    "metric-not-computed": "The run holds no metric of that name.",
    "metric-renamed": "One run computed the metric, the other did not.",
    "missing-arms-differ": "Scores are missing more often in one run than in the other.",
    "missing-decides": "The verdict depends on scores that are missing.",
    "missing-scores": "Scores are missing through no fault of the candidate.",
    "must-pass": "A sample that must pass did not.",
    "no-answers": "Not one answer came back.",
    "no-baseline": "A check compares with the baseline, and there is none.",
    "no-such-tag": "No sample carries the tag a check names.",
    "not-applicable": "Some samples hold nothing the metric could judge by.",
    "not-comparable": "The runs are not comparable, so the check was not judged.",
    "not-judged": "A sample that must be judged holds nothing to judge it by: no reference, no contexts.",
    "not-measured": "No answer says how long it took.",
    "not-shown": "Neither a drop nor its absence could be shown with this many samples.",
    "other-baseline": "The candidate's answers were held against those of another run.",
    "other-provider": "The runs were answered through different providers or endpoints.",
    "other-parameters": "The runs were made with other request parameters.",
    "other-judge": "The metric was judged by another model, or with other prompts, in the other run.",
    "other-scorer": "The metric was computed in another way in the other run.",
    "other-suite": "Too few samples are the same in both runs.",
    "position-bias": "The judge of pairs chose by their order, more often one place than the other.",
    "prompt-edited": "The prompt's content changed under the same prompt version.",
    "prompt-unversioned": "One run was made with a prompt file, the other without, under the same prompt version.",
    "repeats-are-copies": "The further answers to each sample are copies of the first, and count as one.",
    "same-output": "Many different questions got one and the same answer.",
    "samples-differ": "Some samples are not the same in both runs and were left out.",
    "scorer-changed": "Identical outputs got different scores: the scorer changed, not the candidate.",
    "served-model": "The provider served another model than the one declared.",
    "served-model-unknown": "The provider did not say which model it served.",
    "served-models-mixed": "The provider served more than one model under the declared name.",
    "shape-changed": "The shape of the outputs changed.",
    "shape-moved": "The shape of some outputs moved, more than allowed but too little to be shown.",
    "slower": "Answers are shown to take longer than the baseline's by more than allowed.",
    "slice-drop": "The metric fell in a slice that the policy names.",
    "stopped-by-budget": "A cap or the deadline was reached before everything was asked.",
    "subset": "Only a part of the suite was run.",
    "suite-too-small": "The suite is too small for the check to see a change.",
    "threshold-lowered": "A flag or the environment put a lower threshold in place of the policy's own.",
    "tolerated-drop": "A real drop, but shown to be smaller than the margin.",
    "too-few-groups": "Fewer than 20 groups: no test of a pass keeps its error rate with so few.",
    "too-few-labels": "Fewer than 50 samples, or 20 groups, are labelled by people in both runs.",
    "too-few-samples": "Fewer than 20 samples: no test of a pass keeps its error rate with so few.",
    "undecided-early": "What was asked so far does not show on which side of the threshold the mean lies.",
    "undecided-mean": "The missing scores decide on which side of the threshold the mean lies.",
    "undefined-metric": "The metric is undefined on this run.",
    "weak-judge": "The judge of the metric agrees badly with people (J < 0.5), and the policy does not accept that.",
    "weak-judge-accepted": "The judge of the metric agrees badly with people (J < 0.5), and the policy accepts that.",
}


def reason(code: str, text: str, hint: str = "") -> Reason:
    """A reason with a code that is on the list.

    Raises:
        KeyError: The code is not on the list; every code is documented before it is used.
    """
    if code not in REASONS:
        raise KeyError(f"reason code {code!r} is not documented in REASONS")
    return Reason(code, text, hint)
