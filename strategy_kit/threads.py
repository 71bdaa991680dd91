"""How many threads linear algebra takes."""

from __future__ import annotations

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
_LIMITING = Lock()


def one_blas_thread(work: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorate work on blocks of rows: they are small, and threads that wait for the next take the processor from it.

    Examples
    --------
    >>> one_blas_thread(lambda size: np.ones((size, size)) @ np.ones(size))(2).tolist()
    [2.0, 2.0]
    """

    @wraps(work)
    def alone(*given: Given.args, **named: Given.kwargs) -> Result:
        # The limit is the process's: a second that set it would find one thread and leave one behind.
        if not _LIMITING.acquire(blocking=False):
            return work(*given, **named)
        try:
            with _LOADED.limit(limits=1, user_api="blas"):
                return work(*given, **named)
        finally:
            _LIMITING.release()

    return alone
