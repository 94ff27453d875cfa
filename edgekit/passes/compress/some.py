"""Whether a step of compression has anything to do: one that changes nothing would be taken for one that cost nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edgekit.errors import UsageError

_SHOWN = 3


def check_some(step: str, wanted: Collection[str], left: Mapping[str, str]) -> None:
    """Refuse a step that leaves every layer as it is; a model that has no layers at all has nothing to lose.

    Args:
        step: its name.
        wanted: what it will change, by name.
        left: why it leaves a layer alone, by the layer's name.

    Raises:
        UsageError: there are layers, and all of them are left alone.
    """
    if wanted or not left:
        return
    told = [f"{name}: {why}" for name, why in list(left.items())[:_SHOWN]]
    more = f"; and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
    hint = "edgekit recipes show NAME prints a recipe to copy: leave out this step, or the one before it that holds the weights"
    raise UsageError(f"{step}: leaves every layer as it is ({'; '.join(told)}{more})", hint=hint)
