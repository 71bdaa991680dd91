"""What sections far down the page ask of a week, begun on further connections while those above them are made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from strategy_kit.report.reading import Reading

Answer = TypeVar("Answer")
_AT_ONCE = 2


class Ahead:
    """Answers of one reading by the function that makes them: data and sentences, no charts, which one thread draws.

    Examples
    --------
    >>> Ahead().of(len, "weeks")  # begun by nobody, so made here
    5
    """

    def __init__(self) -> None:
        self._begun: dict[Callable[[Reading], Any], Future[Any]] = {}

    def begin(self, reading: Reading, *makers: Callable[[Reading], Any]) -> None:
        """Begin them, each on a connection of its own, where the engine has more than one; who asks is told what they raise."""
        pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ahead")
        for make in makers:
            if make not in self._begun and (beside := reading.shop.engine.beside()) is not None:
                alone = replace(reading, shop=replace(reading.shop, engine=beside), ahead=Ahead())
                self._begun[make] = pool.submit(make, alone)
        pool.shutdown(wait=False)

    def of(self, make: Callable[[Reading], Answer], reading: Reading) -> Answer:
        """Return what a function makes of the reading, and wait for it where it has been begun."""
        answer: Answer = self._begun[make].result() if make in self._begun else make(reading)
        return answer
