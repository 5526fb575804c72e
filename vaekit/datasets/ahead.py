"""Work done ahead of whoever takes its results: in threads, in order, and only so far that little is held.

Needs: the standard library.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def in_order(
    function: Callable[[In], Out], inputs: Iterable[In], *, threads: int, ahead: int
) -> Generator[Out, None, None]:
    """Apply a function in threads, and give the results in the inputs' order.

    Closing the iterator cancels what has not begun. An error of the function is raised where its result was due.

    Args:
        function: What is done; it should spend its time outside Python's lock.
        inputs: What it is done to.
        threads: How many at once.
        ahead: Results that may be in work or waiting while one is taken.
    """
    waiting: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="vaekit-ahead") as pool:
        try:
            for item in inputs:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
