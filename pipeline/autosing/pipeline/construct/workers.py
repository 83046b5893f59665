"""Worker processes that die with their parent, behind an interface that is the same without them."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from autosing.pipeline.threads import one_thread
from autosing.signal.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")


class Workers:
    """Maps tasks to results in order, in this process where it has no pool."""

    def __init__(self, pool: ProcessPoolExecutor | None) -> None:
        self._pool = pool

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yields the results in the order of the tasks.

        Raises:
            DataError: a worker was killed.
        """
        if self._pool is None:
            yield from map(function, tasks)
            return
        try:
            yield from self._pool.map(function, tasks)
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process was killed (out of memory?); run the same command again, with fewer --workers: what "
                "is finished is kept"
            ) from error


@contextmanager
def worker_pool(count: int) -> Iterator[Workers]:
    """Yields `count` workers; after an error nothing that waits is started."""
    if count <= 1:
        yield Workers(None)
        return
    # Forked children of a process with threads (Arrow's, the caller's) can deadlock.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start)
    try:
        yield Workers(pool)
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Prepares a worker: one thread per library, and an end when the parent is gone (it may be killed)."""
    one_thread()
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
