"""Say in one line that this Python is too old or has no venv, before anything is installed with it."""

import sys

NEEDED = (3, 11)

if sys.version_info < NEEDED:
    have = ".".join(map(str, sys.version_info[:2]))
    sys.exit("edgekit needs Python 3.11 or newer, this is " + have + ": make PYTHON=python3.11 …")
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit("this Python has no venv: apt install python3-venv")
