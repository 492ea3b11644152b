"""Suites of other tools, one file each: promptfoo, DeepEval, Inspect, ragas. What cannot be carried over is named."""
