"""Marks between which an emulator counts instructions.

A mark is a system call that does nothing: closing a file of a number no process has open. QEMU's plugin ``instructions.c`` sees it and
writes ``N COUNT`` to :data:`FILE` in the working folder, N being the mark's number. On a real processor nobody sees it.
"""

from __future__ import annotations

import gc
import os
import time
from contextlib import suppress
from typing import Any, Callable, Dict, NamedTuple

from .session import Session

FILE = "instructions.txt"
MARK = 0x0ED60000  # + N; the plugin knows it too
MARKS = 3  # of query I: 3 I, 3 I + 1, the query, 3 I + 2; between the first two lies nothing but what marking costs
FEWEST_WARMUPS = 4  # TFLite's reference kernels settle at the third query, all others at the second


class Counting(NamedTuple):
    """How many queries to count, after how many that are not.

    The first lay out memory and choose kernels, and Python specializes what it runs often: on the smallest networks that
    shows until the twentieth. On large ones it does not, and they are slow.

    Attributes:
        warmup_queries: the warm-up ends after so many, …
        warmup_s: … or after so long, four being done.
        queries: how many are counted.
    """

    warmup_queries: int
    warmup_s: float
    queries: int


def mark(number: int) -> None:
    """Pass a mark."""
    with suppress(OSError):
        os.close(MARK + number)


def count_queries(session: Session, ready: Any, counting: Counting, passing: Callable[[int], None] = mark) -> Dict[str, int]:
    """Run queries on one input between marks, those of the warm-up too; the garbage collector is off meanwhile.

    Returns:
        ``warmup`` and ``queries``, how many were run of each.
    """
    gc.collect()
    gc.disable()
    try:
        begun = time.monotonic()
        warmup = 0
        while warmup < counting.warmup_queries and (warmup < FEWEST_WARMUPS or time.monotonic() - begun < counting.warmup_s):
            _marked(session, ready, warmup, passing)
            warmup += 1
        for index in range(counting.queries):
            _marked(session, ready, warmup + index, passing)
    finally:
        gc.enable()
    return {"warmup": warmup, "queries": counting.queries}


def _marked(session: Session, ready: Any, index: int, passing: Callable[[int], None]) -> None:
    first = MARKS * index
    passing(first)
    passing(first + 1)
    session.run(ready)
    passing(first + 2)
