"""Matrix products by one thread: the number of processors must not decide the result, and small ones are no faster by several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Numpy's matrix library takes one thread meanwhile."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
