"""What a table of rules cannot say: relations between shapes, scales and small constants of one operator.

Each check returns why an operator is not taken, or "".
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from types import MappingProxyType

from edgekit.engine.tflite.delegates.network import Network, Operator, Tensor

_SMALL = frozenset({"int8", "uint8"})
_LOGICAL_READERS = frozenset({"CAST", "SELECT", "SELECT_V2"})
_FLOATS = frozenset({"float32", "float16"})


@dataclass(frozen=True, slots=True)
class Seen:
    """An operator in its graph.

    Attributes:
        network: the graph.
        operator: one of it.
        unpacked: tensors that the delegate makes of constants when the file is opened.
    """

    network: Network
    operator: Operator
    unpacked: frozenset[int] = frozenset()

    @property
    def inputs(self) -> list[Tensor | None]:
        """What it reads, by place."""
        return self.network.inputs(self.operator)

    @property
    def given(self) -> list[Tensor]:
        """What it reads, without what is left out."""
        return [tensor for tensor in self.inputs if tensor is not None]

    @property
    def outputs(self) -> list[Tensor]:
        """What it makes."""
        return self.network.outputs(self.operator)

    def input(self, at: int) -> Tensor | None:
        """What it reads in a place."""
        return self.inputs[at] if at < len(self.operator.inputs) else None

    def is_fixed(self, at: int) -> bool:
        """Whether what it reads in a place is known when the file is opened."""
        tensor = self.input(at)
        return tensor is not None and (tensor.is_constant or self.operator.inputs[at] in self.unpacked)

    def maker(self, at: int) -> Operator | None:
        """The operator that makes what it reads in a place."""
        found = self.network.makers().get(self.operator.inputs[at])
        return None if found is None else self.network.operators[found]

    def numbers(self, at: int) -> tuple[int, ...]:
        """The numbers of a small constant in a place; none if they are not known."""
        tensor = self.input(at)
        return () if tensor is None or tensor.numbers is None else tensor.numbers


def sized(seen: Seen) -> str:
    """No input may be empty, shapes and axes apart."""
    empty = next((tensor for tensor in seen.given if not tensor.size and tensor.dtype != "int32"), None)
    return f"{empty.name} is empty" if empty is not None else ""


def _ratio(one: Tensor, other: Tensor) -> float | None:
    """How many steps of the second a step of the first is; ``None`` where they are not of one integer type."""
    if one.dtype not in _SMALL or one.dtype != other.dtype or not (one.scales and other.scales):
        return None
    return one.scales[0] / other.scales[0]


def _outside(ratio: float | None, least: float, most: float, *, is_open: bool) -> str:
    if ratio is None or (least <= ratio and (ratio < most if is_open else ratio <= most)):
        return ""
    return f"its input's step is {ratio:.3g} of its output's, the kernel takes {least:.3g} to {most:.3g}"


def scales_of_sum(seen: Seen) -> str:
    """Steps of both inputs are 1/1024 to 256 of the output's."""
    said = (_outside(_ratio(tensor, seen.outputs[0]), 1 / 1024, 256.0, is_open=True) for tensor in seen.given)
    return next(filter(None, said), "")


def scales_of_product(seen: Seen) -> str:
    """The product of the steps is 1/65536 to 256 of the output's."""
    one, other, made = *seen.given[:2], seen.outputs[0]
    if _ratio(one, made) is None or _ratio(other, made) is None:
        return ""
    return _outside(one.scales[0] * other.scales[0] / made.scales[0], 1 / 65536, 256.0, is_open=True)


def scales_of_conversion(seen: Seen) -> str:
    """From one step to another of the same type: 1/256 to 128."""
    return _outside(_ratio(seen.given[0], seen.outputs[0]), 1 / 256, 128.0, is_open=False)


def slope(seen: Seen) -> str:
    """The slope below zero is a normal number other than 0, and leaves steps that the kernel can take."""
    alpha = float(seen.operator.options.get("alpha", 0.0))
    if abs(alpha) < sys.float_info.epsilon * 2**-74:  # 2^-126, the least normal number of float32
        return f"its slope is {alpha:g}"
    ratio = _ratio(seen.given[0], seen.outputs[0])
    if ratio is None:
        return ""
    if said := _outside(ratio, 1 / 256, 128.0, is_open=False):
        return said
    below = ratio * alpha
    return f"below zero its input's step is {below:.3g} of its output's" if not (-127.99609375 <= below <= 128 and abs(below) >= 1 / 256) else ""


def same_scale(seen: Seen) -> str:
    """Integers keep their scale and zero point."""
    made = seen.outputs[0]
    for tensor in seen.given:
        if tensor.dtype in _SMALL and (tensor.scales, tensor.zero_points) != (made.scales, made.zero_points):
            return f"{tensor.name} has another scale or zero point than {made.name}"
    return ""


def strides_within_filter(seen: Seen) -> str:
    """A pooling window leaves nothing out, and one of a single place moves by one."""
    options = seen.operator.options
    for side in ("Height", "Width"):
        stride = options.get(f"stride{side[0]}", 1)
        if stride > options.get(f"filter{side}", 1):
            return f"its stride {stride} is larger than its window"
    return ""


def centred_weights(seen: Seen) -> str:
    """Weights of int8 and below have zero point 0."""
    weights = seen.input(1)
    return (
        f"its weights {weights.name} have a zero point"
        if weights is not None and weights.dtype.startswith("int") and any(weights.zero_points)
        else ""
    )


def not_sparse(seen: Seen) -> str:
    """Version 8 of FULLY_CONNECTED is that of sparse weights."""
    return "its version 8 is that of sparse weights" if seen.operator.version == 8 else ""


def whole_bytes(seen: Seen) -> str:
    """Rows of few bits fill bytes; 2 bits need a scale a channel."""
    weights = seen.input(1)
    each = {"int4": 2, "int2": 4}.get(weights.dtype, 1) if weights is not None else 1
    if weights is None or each == 1:
        return ""
    if weights.shape[-1] % each:
        return f"its {weights.dtype} weights have rows of {weights.shape[-1]}; the kernel takes multiples of {each}"
    return "its int2 weights have one scale; the kernel takes one a channel" if each == 4 and len(weights.scales) != weights.shape[0] else ""


def few_bits_by_channel(seen: Seen) -> str:
    """Weights of few bits have a scale for each channel."""
    weights = seen.input(1)
    is_few = weights is not None and weights.dtype in ("int4", "int2")
    return f"its {weights.dtype} weights have one scale" if weights is not None and is_few and len(weights.scales) != weights.shape[0] else ""


def weights_and_bias_alike(seen: Seen) -> str:
    """Where weights are unpacked from float16, so is the bias."""
    makers = [seen.maker(at) if at < len(seen.inputs) and seen.input(at) is not None else None for at in (1, 2)]
    stored = [None if maker is None else seen.network.tensors[maker.inputs[0]].dtype for maker in makers]
    has_bias = seen.input(2) is not None
    return "its weights are stored as float16 and its bias is not" if stored[0] == "float16" and has_bias and stored[1] != "float16" else ""


def strides_within_kernel(seen: Seen) -> str:
    """A transposed convolution with padding SAME overlaps itself or touches."""
    weights, options = seen.input(1), seen.operator.options
    if weights is None or options.get("padding") != "SAME":
        return ""
    too_far = options.get("strideH", 1) > weights.shape[1] or options.get("strideW", 1) > weights.shape[2]
    return "its stride is larger than its kernel" if too_far else ""


def positive_sizes(seen: Seen) -> str:
    """A slice says how large it is."""
    return "it takes what is left of an axis, by a size of -1" if any(size <= 0 for size in seen.numbers(2)) else ""


def unit_strides(seen: Seen) -> str:
    """A slice with strides leaves nothing out."""
    return "it takes every so manieth, not all" if any(stride != 1 for stride in seen.numbers(3)) else ""


def every_axis(seen: Seen) -> str:
    """A slice with strides says something of each axis."""
    begin, source = seen.input(1), seen.given[0]
    return f"it speaks of {begin.size} of {len(source.shape)} axes" if begin is not None and begin.size != len(source.shape) else ""


def some_axis(seen: Seen) -> str:
    """A reduction reduces something."""
    axes = seen.input(1)
    return "it reduces no axis" if axes is not None and not axes.size else ""


def divisible(seen: Seen) -> str:
    """Pictures fall into whole blocks."""
    block, shape = seen.operator.options.get("blockSize", 1), seen.given[0].shape
    return f"its picture is no multiple of {block}" if len(shape) == 4 and (shape[1] % block or shape[2] % block) else ""


def one_scale_beside_integers(seen: Seen) -> str:
    """Two integer sides have one scale each, and the second zero point 0; beside float, a scale a column."""
    one, other = seen.given[:2]
    if one.dtype in _SMALL and len(other.scales) > 1:
        return f"{other.name} has a scale for each channel"
    last = len(other.shape) - (2 if seen.operator.options.get("adjY") else 1)
    return f"{other.name} has scales along axis {other.axis}" if len(other.scales) > 1 and other.axis != last else ""


def depthwise_shapes(seen: Seen) -> str:
    """Channels out are channels in, times the multiplier."""
    source, made = seen.given[0], seen.outputs[0]
    multiplier = seen.operator.options.get("depthMultiplier", 1)
    return "" if made.shape[3] == source.shape[3] * multiplier else "its channels do not follow from its multiplier"


def broadcasts(seen: Seen) -> str:
    """Shapes of different ranks fit each other from their ends."""
    one, other = seen.given[:2]
    if len(one.shape) == len(other.shape) or min(len(one.shape), len(other.shape)) < 2:
        return ""
    pairs = zip_longest(reversed(one.shape), reversed(other.shape), fillvalue=1)
    return "" if all(a == b or 1 in (a, b) for a, b in pairs) else "its inputs do not broadcast"


def conversions(seen: Seen) -> str:
    """The GPU converts between float32 and int32, and between bool and float."""
    source, made = seen.given[0].dtype, seen.outputs[0].dtype
    is_known = (source == "bool" and made in _FLOATS) or (source in _FLOATS and made == "bool") or {source, made} <= {"float32", "int32"}
    return "" if is_known else f"it converts {source} to {made}"


def feeds_one_choice(seen: Seen) -> str:
    """A logical result is read by one CAST or SELECT that makes float."""
    readers = seen.network.readers(seen.operator.outputs[0])
    is_so = len(readers) == 1 and readers[0].op in _LOGICAL_READERS and seen.network.outputs(readers[0])[0].dtype in _FLOATS
    return "" if is_so else "what it makes is not read by one CAST or SELECT alone that makes float"


def one_row_of_indices(seen: Seen) -> str:
    """Indices are int32, in one row."""
    indices = seen.given[1]
    return "" if indices.dtype == "int32" and len(indices.shape) == 1 else f"its indices are {indices.dtype} of {len(indices.shape)} axes"


def int32_axes(seen: Seen) -> str:
    """Axes are an int32 constant."""
    axes = seen.input(1)
    return "" if axes is not None and axes.is_constant and axes.dtype == "int32" else "its axes are no int32 constant"


def paddings_of_pictures(seen: Seen) -> str:
    """Paddings are 3 or 4 pairs."""
    pairs = seen.given[1].shape
    return "" if pairs in ((3, 2), (4, 2)) else f"its paddings are {'x'.join(map(str, pairs))}; it takes 3x2 or 4x2"


def same_rank(seen: Seen) -> str:
    """Who keeps the number of axes makes as many as it reads."""
    if not seen.operator.options.get("keepNumDims"):
        return ""
    return "" if len(seen.given[0].shape) == len(seen.outputs[0].shape) else "it keeps its axes and makes another number of them"


def no_two_corner_rules(seen: Seen) -> str:
    """Corners are aligned, or pixels have centres, not both."""
    options = seen.operator.options
    return "it aligns corners and pixel centres" if options.get("alignCorners") and options.get("halfPixelCenters") else ""


def rows_of_one_hot(seen: Seen) -> str:
    """Indices are int32, values float constants, the new axis the last."""
    indices, _, on, off = (*seen.given, None, None, None, None)[:4]
    if indices is None or indices.dtype != "int32" or seen.operator.options.get("axis", -1) != -1:
        return "its indices are not int32, or its new axis is not the last"
    if any(one is None or one.dtype != "float32" or not one.is_constant or one.size > 1 for one in (on, off)):
        return "its values are no float32 constants"
    singles = indices.shape[1 if len(indices.shape) > 3 else 0 : -1]
    return "" if all(size == 1 for size in singles) else "its indices are more than rows"


def choices(seen: Seen) -> str:
    """What is chosen from has the shape of what is made, or is one number."""
    condition, *values = seen.given
    made = seen.outputs[0].shape
    if condition.dtype not in ("bool", *_FLOATS):
        return f"it chooses by {condition.dtype}"
    for value in values:
        if value.shape and value.shape != made and (len(value.shape) > 1 or value.shape[0] > 1):
            return f"{value.name} is broadcast"
        if value.is_constant and len(value.shape) == 2:
            return f"{value.name} is a constant of two axes"
    return ""


def float_cumulation(seen: Seen) -> str:
    """Float in and out, along a constant int32 axis."""
    source, made = seen.given[0].dtype, seen.outputs[0].dtype
    return "" if source in _FLOATS and source == made and not int32_axes(seen) else f"it is {source} along what is no int32 constant, or no float"


def axis_before_last(seen: Seen) -> str:
    """What is packed along is not the last axis."""
    axis = seen.operator.options.get("axis", 0)
    return "it packs along the last axis" if axis in (-1, len(seen.given[0].shape)) else ""


def constant_scalars(seen: Seen) -> str:
    """A single number beside a tensor is a constant."""
    return next((f"{one.name} is a computed single number" for one in seen.given if not one.shape and not one.is_constant), "")


def small_windows(seen: Seen) -> str:
    """Quantized averages are over 256 places at most."""
    options = seen.operator.options
    places = options.get("filterHeight", 1) * options.get("filterWidth", 1)
    return f"it averages {places} quantized places; 256 do not overflow" if seen.given[0].dtype in _SMALL and places > 256 else ""


def three_inner_axes(seen: Seen) -> str:
    """Only the three innermost axes may be larger than 1."""
    wide = next((one for one in (*seen.given, *seen.outputs) if not one.is_constant and any(size != 1 for size in one.shape[:-3])), None)
    return f"{wide.name} has more than three axes larger than 1" if wide is not None else ""


def not_the_batch(seen: Seen) -> str:
    """The first axis of a picture is left alone."""
    numbers = seen.numbers(0 if seen.operator.op == "SPLIT" else 1)
    source = seen.given[1 if seen.operator.op == "SPLIT" else 0]
    rank = len(source.shape)
    return "it works along the batch" if rank == 4 and any(axis % rank == 0 for axis in numbers) else ""


def depth_by_fours(seen: Seen) -> str:
    """A mean over the channels has a multiple of 4 of them."""
    shape = seen.given[0].shape
    over_depth = any(axis % len(shape) == len(shape) - 1 for axis in seen.numbers(1))
    return f"it averages {shape[-1]} channels, no multiple of 4" if over_depth and shape[-1] % 4 else ""


def no_batch_padding(seen: Seen) -> str:
    """The first axis of a picture is not padded."""
    return "it pads the batch" if len(seen.given[0].shape) == 4 and any(seen.numbers(1)[:2]) else ""


def one_dilation(seen: Seen) -> str:
    """Dilation is the same along both axes."""
    options = seen.operator.options
    return "" if options.get("dilationHFactor", 1) == options.get("dilationWFactor", 1) else "it is dilated differently along its axes"


def one_row(seen: Seen) -> str:
    """What is made is one row."""
    return "" if all(size == 1 for size in seen.outputs[0].shape[:-1]) else "it makes more than one row"


def short_row(seen: Seen) -> str:
    """One row of 16000 numbers at most."""
    return one_row(seen) or ("" if seen.outputs[0].size <= 16000 else f"its row has {seen.outputs[0].size} numbers; 16000 is the most")


def joined_constant(seen: Seen) -> str:
    """A constant is joined to one other tensor, not to more."""
    return "it joins a constant to more than one other" if any(one.is_constant for one in seen.given) and len(seen.given) > 2 else ""


def slope_a_channel(seen: Seen) -> str:
    """Slopes differ along the innermost axis alone."""
    slopes = seen.input(1)
    return "" if slopes is None or all(size == 1 for size in slopes.shape[:-1]) else "its slopes differ along more than the channels"


Check = Callable[[Seen], str]
CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        one.__name__: one
        for one in (
            axis_before_last,
            broadcasts,
            centred_weights,
            choices,
            constant_scalars,
            conversions,
            depth_by_fours,
            depthwise_shapes,
            divisible,
            every_axis,
            few_bits_by_channel,
            feeds_one_choice,
            float_cumulation,
            int32_axes,
            joined_constant,
            no_batch_padding,
            no_two_corner_rules,
            not_sparse,
            not_the_batch,
            one_dilation,
            one_row,
            one_row_of_indices,
            one_scale_beside_integers,
            paddings_of_pictures,
            positive_sizes,
            rows_of_one_hot,
            same_rank,
            same_scale,
            scales_of_conversion,
            scales_of_product,
            scales_of_sum,
            short_row,
            sized,
            slope,
            slope_a_channel,
            small_windows,
            some_axis,
            strides_within_filter,
            strides_within_kernel,
            three_inner_axes,
            unit_strides,
            weights_and_bias_alike,
            whole_bytes,
        )
    }
)
"""By the name that a table calls them."""
