"""Arrays in, numbers out: the statistics of the gate. Knows no type of aigate.

Scores lie in [0, 1] and are turned so that higher is better; `d = candidate - baseline` per sample; `margin` is the
tolerated drop; `alpha` is one-sided.
"""
