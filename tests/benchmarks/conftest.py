"""The benchmarks are scripts beside the package: `rates` is found as `python benchmarks/gate_rates.py` finds it."""

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture
def random():
    return np.random.Generator(np.random.PCG64(20261123))
