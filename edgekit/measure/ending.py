"""How a command ended that left no answer."""

from __future__ import annotations

import signal
from contextlib import suppress

from edgekit.device.contract import Ran


def ending(ran: Ran) -> str:
    """In words: the signal that ended it, else its status and the last that it said."""
    last = ran.stderr.decode(errors="replace").strip().splitlines()[-1:]
    number = -ran.status if ran.status < 0 else ran.status - 128
    with suppress(ValueError):
        return f"was ended by {signal.Signals(number).name}"
    return f"ended with status {ran.status}{': ' if last else ''}{''.join(last)}"
