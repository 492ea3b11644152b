"""pytest plugin: hooks only, inert until a test, a flag or the ini file asks for it.

Every pytest start in an environment with aigate imports this module, so it imports nothing but pytest itself. What it
does once it is asked stands in `aigate.golden_tests`. PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aigate.golden_tests.fixture import GoldenTest
    from aigate.golden_tests.session import GoldenSession

__all__ = ["aigate", "pytest_addoption", "pytest_collection_modifyitems", "pytest_configure"]

MARKER = "aigate"
PLUGIN = "aigate-session"
FLAGS = ("aigate_collect", "aigate_update_baseline", "aigate_baseline", "aigate_threshold", "aigate_json")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and one ini setting, every name prefixed."""
    group = parser.getgroup("aigate", "golden suites as tests (aigate)")
    group.addoption(
        "--aigate-collect", action="store_true", help="golden suites (folders with a suite.toml) are tests too"
    )
    group.addoption(
        "--aigate-update-baseline",
        action="store_true",
        help="make passing runs the baselines of their suites; only this flag writes baselines",
    )
    group.addoption(
        "--aigate-baseline", metavar="NAME|RUN", help="hold runs against this baseline instead of the suite's own"
    )
    group.addoption("--aigate-threshold", metavar="T", help="the mean of the primary metric must be at least T")
    group.addoption("--aigate-json", metavar="FILE", help="write every verdict to FILE")
    parser.addini("aigate_collect", "golden suites are tests too, as with --aigate-collect", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; start where a flag or the ini file asks for it, or where workers may report verdicts."""
    config.addinivalue_line(
        "markers",
        "aigate(suite, version=None, baseline=None, threshold=None): the golden suite that the fixture `aigate` gates",
    )
    if any(config.getoption(flag) not in {None, False} for flag in FLAGS) or config.getini("aigate_collect"):
        _session(config)
    elif config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Controller(config), "aigate-controller")


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Start where a test asks for it."""
    for item in items:
        if item.get_closest_marker(MARKER) is not None or MARKER in getattr(item, "fixturenames", ()):
            _session(config)
            return


@pytest.fixture
def aigate(request: pytest.FixtureRequest) -> Iterator[GoldenTest]:
    """The golden suite that the test's marker names: `aigate.evaluate(answer).gate().raise_for_status()`.

    Raises:
        ConfigError: No marker, or one that is wrong.
    """
    __tracebackhide__ = True
    with _session(request.config).golden_test(request) as golden:
        yield golden


class _Controller:
    """With pytest-xdist tests are collected elsewhere: start when the first verdict arrives."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "aigate"):
            self._config.pluginmanager.unregister(self)
            _session(self._config).pytest_runtest_logreport(report)


def _session(config: pytest.Config) -> GoldenSession:
    """The part that does the work, once per session."""
    found: GoldenSession | None = config.pluginmanager.get_plugin(PLUGIN)
    if found is None:
        from aigate.golden_tests.session import GoldenSession

        found = GoldenSession(config)
        config.pluginmanager.register(found, PLUGIN)
    return found
