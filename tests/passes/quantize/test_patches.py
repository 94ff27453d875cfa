import itertools

import numpy as np
import pytest

from edgekit.graph.view import View
from edgekit.graph.weighted import weighted_nodes
from edgekit.passes.quantize.patches import FEWEST, LARGEST_BLOCK, MOST, block_sizes, from_blocks, in_blocks, patches

GENERATOR = np.random.default_rng(0)


def normal(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


def node_of(proto):
    return next(iter(weighted_nodes(View(proto)).values()))


ALL = 10**6
"""More places than any tensor has."""


def by_loops(x, kernel, *, strides, dilations, begins, ends, group):
    """What a convolution reads at each place of its output, one number after the other."""
    batch, channels, *sizes = x.shape
    reach = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    outputs = [(size + begin + end - far) // stride + 1 for size, begin, end, far, stride in zip(sizes, begins, ends, reach, strides, strict=True)]
    each = channels // group
    rows = []
    for g, b, *place in itertools.product(range(group), range(batch), *map(range, outputs)):
        row = []
        for c, *tap in itertools.product(range(g * each, (g + 1) * each), *map(range, kernel)):
            at = [p * s + t * d - begin for p, s, t, d, begin in zip(place, strides, tap, dilations, begins, strict=True)]
            row.append(x[(b, c, *at)] if all(0 <= one < size for one, size in zip(at, sizes, strict=True)) else 0.0)
        rows.append(row)
    return np.array(rows, np.float32).reshape(group, -1, each * int(np.prod(kernel)))


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((1, 3, 5, 6), (3, 3), {}),
        ((2, 3, 5, 6), (3, 2), {}),
        ((1, 2, 7, 8), (3, 3), {"strides": (2, 3)}),
        ((1, 2, 7, 8), (2, 3), {"dilations": (3, 2)}),
        ((1, 2, 5, 5), (3, 3), {"begins": (0, 2), "ends": (1, 0)}),
        ((1, 6, 4, 4), (3, 3), {"group": 3, "begins": (1, 1), "ends": (1, 1)}),
        ((1, 4, 5, 5), (3, 3), {"group": 4, "strides": (2, 2), "begins": (1, 0), "ends": (1, 1)}),
        ((2, 4, 11), (3,), {"group": 2, "strides": (2,), "dilations": (2,), "begins": (2,), "ends": (1,)}),
        ((1, 2, 3, 4, 3), (2, 2, 2), {"begins": (1, 0, 0), "ends": (0, 0, 1)}),
    ],
)
def test_all_patches_of_a_convolution_are_those_of_plain_loops(proto_of, shape, kernel, options):
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    options = {"strides": ones, "dilations": ones, "begins": zeros, "ends": zeros, "group": 1} | options
    written = {name: list(options[name]) for name in ("strides", "dilations")} | {"pads": [*options["begins"], *options["ends"]]}
    attributes = ", ".join(f"{name}={values}" for name, values in written.items())
    sizes = ",".join(map(str, shape))
    open_sizes = ",".join("nchwd"[: len(shape)])
    text = f"net (float[{sizes}] x) => (float[{open_sizes}] y) {{ y = Conv<group={options['group']}, {attributes}>(x, w) }}"
    proto = proto_of(text, w=normal(2 * options["group"], shape[1] // options["group"], *kernel))
    x = normal(*shape)

    np.testing.assert_array_equal(patches(node_of(proto), x, 0, most=ALL), by_loops(x, kernel, **options))


@pytest.mark.parametrize("options", ["group=1", "group=2, strides=[2,3]", "group=2, dilations=[2,1], strides=[1,2], pads=[1,0,0,2]"])
def test_weights_times_all_patches_of_a_transposed_convolution_are_its_output(proto_of, run, options):
    text = f"net (float[1,4,4,5] x) => (float[n,c,h,v] y) {{ y = ConvTranspose<{options}>(x, w) }}"
    proto, x = proto_of(text, w=normal(4, 3, 3, 2)), normal(1, 4, 4, 5)
    one = node_of(proto)
    weight = one.by_channel(View(proto).value("w"))
    rows = patches(one, x, 0, most=ALL)
    outputs = np.einsum("gpi,gri->grp", rows, weight.reshape(one.groups, -1, rows.shape[2]))

    (expected,) = run(proto, x=x)
    np.testing.assert_allclose(outputs.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_all_rows_of_a_product_are_its_input(proto_of, op):
    shape = (2, 3, 4) if op == "MatMul" else (6, 4)
    sizes = ",".join(map(str, shape))
    proto = proto_of(f"net (float[{sizes}] x) => (float[{sizes[:-1]}5] y) {{ y = {op}(x, w) }}", w=normal(4, 5))
    x = normal(*shape)

    np.testing.assert_array_equal(patches(node_of(proto), x, 0, most=ALL), x.reshape(1, 6, 4))


@pytest.fixture
def pointwise(proto_of):
    return node_of(proto_of("net (float[1,2,40,40] x) => (float[1,3,40,40] y) { y = Conv(x, w) }", w=normal(3, 2, 1, 1)))


def test_a_sample_always_gives_the_same_places_and_another_gives_others(pointwise):
    where = np.arange(1600, dtype=np.float32).reshape(1, 1, 40, 40).repeat(2, axis=1)  # each place holds its own number
    first, again, other = (patches(pointwise, where, sample)[0, :, 0] for sample in (0, 0, 1))

    np.testing.assert_array_equal(first, again)
    assert len(set(first)) == len(first) == MOST
    assert not set(first) & set(other)


def test_places_are_spread_over_rows_columns_and_pictures_of_a_batch(proto_of):
    one = node_of(proto_of("net (float[4,2,40,40] x) => (float[4,3,40,40] y) { y = Conv(x, w) }", w=normal(3, 2, 1, 1)))
    batch, row, column = np.meshgrid(range(4), range(40), range(40), indexing="ij")
    for wanted, parts in ((batch, 4), (row // 10, 4), (column // 10, 4)):
        x = np.stack([wanted, wanted], axis=1).astype(np.float32)
        counts = np.bincount(patches(one, x, 3)[0, :, 0].astype(int), minlength=parts)

        assert counts.min() > MOST / parts * 0.7


def test_samples_in_turn_see_every_place(pointwise):
    where = np.arange(1600, dtype=np.float32).reshape(1, 1, 40, 40).repeat(2, axis=1)
    seen = {place for sample in range(13) for place in patches(pointwise, where, sample)[0, :, 0]}

    assert len(seen) == 1600


def test_the_wider_the_input_the_fewer_places(proto_of):
    text = "net (float[1,64,24,24] x) => (float[1,1,20,20] y) { y = Conv(x, w) }"
    found = patches(node_of(proto_of(text, w=normal(1, 64, 5, 5))), normal(1, 64, 24, 24), 0)

    assert found.shape == (1, 20, 1600)  # 32,768 numbers
    text = "net (float[1,1024,9,9] x) => (float[1,1,7,7] y) { y = Conv(x, w) }"
    assert patches(node_of(proto_of(text, w=normal(1, 1024, 3, 3))), normal(1, 1024, 9, 9), 0).shape == (1, FEWEST, 9216)


@pytest.mark.parametrize(("inputs", "sizes"), [(0, (1, 0)), (1, (1, 1)), (256, (1, 256)), (257, (2, 129)), (512, (2, 256)), (2304, (9, 256))])
def test_many_inputs_are_split_into_blocks_of_one_size(inputs, sizes):
    assert block_sizes(inputs) == sizes
    assert sizes[1] <= LARGEST_BLOCK


@pytest.mark.parametrize("inputs", [7, 257, 600])
def test_blocks_are_put_together_again_without_what_pads_the_last(inputs):
    rows = np.arange(3 * 4 * inputs, dtype=np.float32).reshape(3, 4, inputs)
    parts = in_blocks(rows)

    assert parts.sum() == rows.sum()
    np.testing.assert_array_equal(from_blocks(parts, 3, inputs), rows)


def test_blocks_are_runs_of_inputs_group_by_group():
    rows = np.arange(2 * 5 * 512, dtype=np.float32).reshape(2, 5, 512)
    expected = [rows[0, :, :256], rows[0, :, 256:], rows[1, :, :256], rows[1, :, 256:]]

    np.testing.assert_array_equal(in_blocks(rows), expected)
