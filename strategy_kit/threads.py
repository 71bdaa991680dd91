"""How many threads linear algebra takes."""

from __future__ import annotations

from contextlib import ExitStack
from functools import wraps
from threading import Lock
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np  # noqa: F401  # its BLAS must be loaded before it can be found
import scipy.linalg.blas  # noqa: F401  # and scipy's, which is another
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Callable

Given = ParamSpec("Given")
Result = TypeVar("Result")
_LOADED = ThreadpoolController()


class _Limit:
    """One limit for all threads of the process: the first that comes sets it, the last that goes takes it away."""

    def __init__(self) -> None:
        self._lock, self._inside, self._undo = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._undo.enter_context(_LOADED.limit(limits=1, user_api="blas"))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._undo.close()


_LIMITED = _Limit()


def one_blas_thread(work: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorate work on blocks of rows: they are small, and threads that wait for the next take the processor from it.

    Examples
    --------
    >>> one_blas_thread(lambda size: np.ones((size, size)) @ np.ones(size))(2).tolist()
    [2.0, 2.0]
    """

    @wraps(work)
    def alone(*given: Given.args, **named: Given.kwargs) -> Result:
        with _LIMITED:
            return work(*given, **named)

    return alone
