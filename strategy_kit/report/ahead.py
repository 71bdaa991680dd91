"""What sections far down the page ask of a week, begun on a second connection while those above them are made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from strategy_kit.report.reading import Reading

Answer = TypeVar("Answer")


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
        """Begin them, one after the other, where the engine has a second connection; who asks is told what they raise."""
        fresh = [make for make in makers if make not in self._begun]
        if not fresh or (beside := reading.shop.engine.beside()) is None:
            return
        alone = replace(reading, shop=replace(reading.shop, engine=beside), ahead=Ahead())
        pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._begun |= {make: pool.submit(make, alone) for make in fresh}
        pool.shutdown(wait=False)

    def of(self, make: Callable[[Reading], Answer], reading: Reading) -> Answer:
        """Return what a function makes of the reading, and wait for it where it has been begun."""
        answer: Answer = self._begun[make].result() if make in self._begun else make(reading)
        return answer
