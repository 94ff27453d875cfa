"""Which channels of a graph hang together, so that what is cut out of one weight is cut out of all that would no longer fit.

Every index along an axis that weights decide is a channel. Operators tie channels to one another: what a convolution makes to
what the next one reads, the branches of an Add, the heads of an attention from query to output. What hangs together is a
unit; units that occur in the same places are a group, from which any number of units may be cut. What an operator computes
across channels (the mean of a layer normalization, the sum of a softmax) or what is not known here is never cut, and says why.

To cut a unit takes nothing away but what it contributes: where all that reads it multiplies it by 0, every output stays as it was.
"""

from __future__ import annotations

from edgekit.graph.channels.cutting import cut
from edgekit.graph.channels.groups import ChannelGroups, Fixed, Group, Place, channel_groups

__all__ = ["ChannelGroups", "Fixed", "Group", "Place", "channel_groups", "cut"]
