"""Values find what shows them by name, and only when they are asked."""

import subprocess
import sys

import pytest

from aigate.core.display import _DISPLAYS, Displayed
from aigate.errors import UsageError


@pytest.mark.parametrize("name", sorted(_DISPLAYS.built_in))
def test_everything_that_is_named_is_there(name):
    assert callable(_DISPLAYS.factory(name))


def test_a_value_that_nothing_shows_says_so():
    class Unknown(Displayed):
        pass

    with pytest.raises(UsageError, match=r"unknown display 'Unknown\.plot'"):
        Unknown().plot()


def test_importing_a_value_imports_nothing_that_shows_it():
    program = "import sys, aigate.core.run, aigate.core.verdict\nprint([m for m in sys.modules if 'reports' in m])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
