"""Threads that share out the blocks of a call, each with operations on one core.

One operation on all cores ends in a barrier. On a machine that others use too, every barrier waits
for the core that was taken away: the same work took 10 to 20 times as long on two busy cores.
Whole blocks on one core each need one wait a call.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def share_out(function: Callable[[T], None], items: Iterable[T], workers: int) -> None:
    """Call the function once for every item, on several threads.

    Parameters
    ----------
    function : callable
        It may read all tensors, and writes what no other item writes.
    items : iterable
    workers : int
        1 runs the items in the calling thread.
    """
    if workers == 1:
        for item in items:
            function(item)
        return
    queue, turn = iter(items), threading.Lock()
    running = [_pool(workers).submit(_work, function, queue, turn) for _ in range(workers)]
    for worker in running:
        worker.result()


def _work(function: Callable[[T], None], queue: Iterator[T], turn: threading.Lock) -> None:
    # A thread of its own starts with gradients on; in inference mode it may also write to the
    # tensors of a caller who is in inference mode.
    with torch.inference_mode():
        while True:
            with turn:
                item = next(queue, None)
            if item is None:
                return
            function(item)


def _pool(workers: int) -> ThreadPoolExecutor:
    """Return the pool of that many threads, made when it is first needed."""
    with _lock:
        if workers not in _pools:
            _pools[workers] = _start(workers)
        return _pools[workers]


def _start(workers: int) -> ThreadPoolExecutor:
    # The number of cores of an operation is set for a thread, but a new thread takes the last
    # number that was set anywhere, so the caller's is set again once all threads have theirs.
    before, together = torch.get_num_threads(), threading.Barrier(workers)
    pool = ThreadPoolExecutor(workers, "sigmoe-attention", torch.set_num_threads, (1,))
    try:
        for started in [pool.submit(together.wait) for _ in range(workers)]:
            started.result()
    finally:
        torch.set_num_threads(before)
    return pool


def _forget_pools() -> None:
    """Forget threads that a forked process does not have, and a lock that nobody will open."""
    global _lock  # noqa: PLW0603 - the child of a fork needs a lock of its own
    _lock = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_forget_pools)
