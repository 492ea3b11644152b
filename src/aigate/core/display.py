"""How values show themselves: in a notebook, as a table, as a picture.

What draws them stands above this package, so that it is found by name, when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aigate.core.registry import Registry
from aigate.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Displayed"]

_DISPLAYS = Registry(
    kind="display",
    group="aigate.displays",
    built_in={
        "Comparison.frame": "aigate.reports.frame:comparison_frame",
        "Comparison.html": "aigate.reports.notebook:comparison_html",
        "Comparison.plot": "aigate.reports.plots:plot_comparison",
        "Comparisons.html": "aigate.reports.notebook:comparisons_html",
        "Comparisons.plot": "aigate.reports.plots:plot_comparisons",
        "Run.frame": "aigate.reports.frame:run_frame",
        "Run.html": "aigate.reports.notebook:run_html",
        "Run.plot": "aigate.reports.plots:plot_run",
        "Verdict.frame": "aigate.reports.frame:verdict_frame",
        "Verdict.html": "aigate.reports.notebook:verdict_html",
        "Verdict.plot": "aigate.reports.plots:plot_verdict",
    },
    error=UsageError,
)


class Displayed:
    """A value that a notebook shows as a small table, and that makes a DataFrame and a picture of itself."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        shown: str = self._display("html")
        return shown

    def to_frame(self) -> pd.DataFrame:
        """A pandas DataFrame; `aigate.reports.frame` says of which rows and columns.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        frame: pd.DataFrame = self._display("frame")
        return frame

    def plot(self, metric: str | None = None) -> Figure:
        """A matplotlib figure; `aigate.reports.plots` says what it shows.

        Args:
            metric: The metric to show; default: the primary one. A verdict shows all its checks and takes none.

        Raises:
            MissingExtraError: matplotlib is not installed.
            UsageError: There is no such metric.
        """
        figure: Figure = self._display("plot", *(() if metric is None else (metric,)))
        return figure

    def _display(self, how: str, *arguments: Any) -> Any:
        return _DISPLAYS.factory(f"{type(self).__name__}.{how}")(self, *arguments)
