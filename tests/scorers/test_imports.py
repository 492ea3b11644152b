import subprocess
import sys

import pytest

from aigate.errors import MissingExtraError
from aigate.scorers import ragas_metrics
from aigate.testing import judged_scorer

HEAVY = ["pandas", "numpy", "sklearn", "scipy", "sacrebleu", "rouge_score", "nltk", "jsonschema", "yaml", "openai"]
MODULES = [
    "exact",
    "text",
    "classification",
    "contract",
    "grounding",
    "recorded",
    "shape",
    "options",
    "reading",
    "ragas_metrics",
]


def test_importing_scorers_imports_no_heavy_package():
    program = (
        f"import sys, importlib\n"
        f"for name in {MODULES}: importlib.import_module('aigate.scorers.' + name)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_ragas_its_scorer_names_the_extra(monkeypatch):
    monkeypatch.setenv(ragas_metrics.NO_TRACKING, "false")
    monkeypatch.setitem(sys.modules, "ragas", None)
    ragas_metrics._collections.cache_clear()
    with pytest.raises(MissingExtraError, match="ragas") as caught:
        judged_scorer("ragas", argument="faithfulness")
    assert "aigate[ragas]" in caught.value.hint
