"""What the export of a page needs, made while its notebook's kernel computes and the process that runs it would wait."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from nbformat import NotebookNode

    from strategy_kit.report.pictures import Pictures
    from strategy_kit.report.verification import Never

CHART = "application/vnd.vegalite.v5+json"


class Meanwhile:
    """Charts, drawn in a process of its own, and what else the export of a page needs.

    Parameters
    ----------
    data
        The data set's folder: no merchant, buyer or order of it may be named on the page.

    Examples
    --------
    >>> from contextlib import closing
    >>> from pathlib import Path
    >>> with closing(Meanwhile(Path("data/sample"))) as meanwhile:
    ...     meanwhile.begin()
    ...     sorted(meanwhile.never(["m00001", "GMV"]))
    ['m00001']
    """

    def __init__(self, data: Path) -> None:
        self._data, self._pool = data, ThreadPoolExecutor(1)
        self._begun: Future[Pictures] | None = None
        self._never: Future[Never] | None = None

    def begin(self) -> None:
        """Start that process and load what the export will need, in a thread."""
        if self._begun is None:
            self._begun = self._pool.submit(_warm)
            self._never = self._pool.submit(_ids, self._data)
            self._pool.submit(_load)

    @property
    def pictures(self) -> Pictures:
        """What draws."""
        self.begin()
        assert self._begun is not None  # noqa: S101  # begun above
        return self._begun.result()

    @property
    def never(self) -> Never:
        """What says which words are ids of the data set."""
        self.begin()
        assert self._never is not None  # noqa: S101  # begun above
        return self._never.result()

    def draw(self, cell: NotebookNode) -> None:
        """Have the charts of a cell drawn."""
        for output in cell.get("outputs", []):
            if CHART in output.get("data", {}):
                self.pictures.draw_soon(output["data"][CHART])

    def close(self) -> None:
        """End the process."""
        if self._begun is not None:
            self._begun.result().close()
        self._pool.shutdown()


def _warm() -> Pictures:
    from strategy_kit.report.pictures import Pictures

    return Pictures(workers=1)  # the kernel wants the other core


def _ids(data: Path) -> Never:
    from strategy_kit.opening import open_dataset
    from strategy_kit.report.verification import ids_of

    return ids_of(open_dataset(data))


def _load() -> None:
    from latex2mathml import converter  # noqa: F401

    from strategy_kit.report.export import ready

    ready()
