"""Suites of other tools, one file each: promptfoo, DeepEval, Inspect and ragas. What cannot be carried over is named."""
