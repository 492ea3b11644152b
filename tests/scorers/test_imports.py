import subprocess
import sys

HEAVY = ["pandas", "numpy", "sklearn", "scipy", "sacrebleu", "rouge_score", "nltk", "jsonschema", "yaml", "openai"]
MODULES = ["exact", "text", "classification", "contract", "grounding", "recorded", "shape", "options", "reading"]


def test_importing_scorers_imports_no_heavy_package():
    program = (
        f"import sys, importlib\n"
        f"for name in {MODULES}: importlib.import_module('aigate.scorers.' + name)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
