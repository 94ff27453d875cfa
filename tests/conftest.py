"""What every test can rely on."""

from __future__ import annotations

import signal

# A test run that was started in the background ignores Ctrl-C, and so would every process it starts: tests that press it need it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
