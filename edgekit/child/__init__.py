"""A limited child process: foreign files are opened in it, and converters run in it with their output captured."""

from edgekit.child.asking import call, sandbox_refusal
from edgekit.child.envelope import Limits, Sandbox, one_line

__all__ = ["Limits", "Sandbox", "call", "one_line", "sandbox_refusal"]
