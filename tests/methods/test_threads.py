"""The limit on the threads of linear algebra is lifted, whoever works at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import pytest
from threadpoolctl import OpenBLASController, ThreadpoolController, threadpool_info

from strategy_kit.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


def threads() -> set[int]:
    """How many each linear algebra library takes."""
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    """Let linear algebra take two threads: tests are given one."""
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    before = [library.num_threads for library in libraries]
    for library in libraries:
        library.set_num_threads(2)
    OpenBLASController.clear_controlling_thread()  # who sets it first keeps it otherwise
    yield
    for library, number in zip(libraries, before, strict=True):
        library.set_num_threads(number)
    OpenBLASController.clear_controlling_thread()


@pytest.mark.parametrize("first_to_leave", [0, 1])
def test_two_at_the_same_time_leave_no_limit_behind(first_to_leave: int) -> None:
    inside, leave = [Event(), Event()], [Event(), Event()]

    @one_blas_thread
    def work(number: int) -> set[int]:
        inside[number].set()
        assert leave[number].wait(60)
        return threads()

    with ThreadPoolExecutor(2) as pool:
        found = []
        for number in (0, 1):
            found.append(pool.submit(work, number))
            assert inside[number].wait(60)
        assert threads() == {1}
        for number in (first_to_leave, 1 - first_to_leave):
            leave[number].set()
            found[number].result()
    assert found[0].result() == {1}
    assert threads() == {2}


def test_the_limit_is_lifted_after_an_error_and_holds_around_a_limit_within() -> None:
    @one_blas_thread
    def outer() -> set[int]:
        one_blas_thread(dict)()
        return threads()

    assert outer() == {1}
    with pytest.raises(ZeroDivisionError):
        one_blas_thread(lambda: 1 // 0)()
    assert threads() == {2}
