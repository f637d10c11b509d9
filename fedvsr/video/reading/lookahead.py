"""Computes a few items ahead in a thread, while the source and the user of the results go on."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], ahead: int
) -> Generator[_Result, None, None]:
    """Yields the results of a function in the order of its items.

    The function runs in one thread, so it may keep a state. It helps if it leaves Python's lock, as FFmpeg's
    libraries and NumPy do.

    Args:
        function: Turns an item into a result.
        items: The items. If they raise an error, the results before it come first.
        ahead: Number of results that may wait, at least 1.

    Raises:
        Exception: That of the function or of the items, in the place of its result.
    """
    waiting: deque[Future[_Result]] = deque()
    error: Exception | None = None
    source = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="fedvsr-lookahead") as pool:
        try:
            while True:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception as problem:
                    error = problem
                    break
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
    if error is not None:
        raise error
