"""Work done ahead on a thread: clips decoded and spectrograms made while a model is busy with the ones before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Made = TypeVar("Made")
_END = object()


def ahead(items: Iterator[Made], most: int) -> Iterator[Made]:
    """The same items in the same order, up to `most` of them made before they are asked for.

    What the items raise is raised here.
    """
    worker = ThreadPoolExecutor(1, "ahead")
    try:
        coming = deque(worker.submit(next, items, _END) for _ in range(most))
        while (item := coming.popleft().result()) is not _END:
            coming.append(worker.submit(next, items, _END))
            yield item  # type: ignore[misc]  # it is not the end
    finally:
        worker.shutdown(cancel_futures=True)
