"""Samples in chunks of a fixed size, each chunk by one thread, results in the order of the samples.

The number of threads changes nothing but the time: same samples, same bits.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from numpy.typing import NDArray

CHUNK = 4
"""Samples that one thread sees before what it saw is added to the rest."""

HELD_BYTES = 256 * 2**20
"""What all threads hold together at most; a network with large feature maps is looked at by fewer of them."""

Feed = Mapping[str, NDArray[Any]]
Numbered = Sequence[tuple[int, Feed]]
R = TypeVar("R")


def in_chunks(look: Callable[[Numbered], R], feeds: Iterable[Feed], *, bytes_held: int) -> Iterator[R]:
    """What each chunk of numbered samples gives, in order; no more chunks wait than there are threads.

    Args:
        look: called with a chunk, perhaps by several threads at once; its matrix products take one thread each.
        feeds: the samples.
        bytes_held: by one call, about.
    """
    from threadpoolctl import threadpool_limits

    threads = max(1, min(os.cpu_count() or 1, HELD_BYTES // max(bytes_held, 1)))
    numbered = enumerate(feeds)
    waiting: deque[Future[R]] = deque()
    with threadpool_limits(limits=1), ThreadPoolExecutor(max_workers=threads) as pool:
        while chunk := list(itertools.islice(numbered, CHUNK)):
            waiting.append(pool.submit(look, chunk))
            if len(waiting) >= threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
