"""Matrices and kernels as products of smaller ones, nearest by what they make of their inputs where these are known.

A kernel is an array (outputs, inputs, height, width), what it is multiplied with a covariance of inputs x height x width numbers, in
that order; a matrix is one without height and width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_STEPS = 200
_STEADY = 1e-9
"""Share of the mean of a diagonal that is added to it before a system is solved: columns may be copies of one another."""


def output_directions(weight: F64, covariance: F64) -> tuple[F64, F64]:
    """The directions that outputs vary in, and how much in each, the largest first.

    Args:
        weight: shape (outputs, inputs).
        covariance: of the inputs, shape (inputs, inputs); or their variances alone, shape (inputs,).

    Returns:
        Variances, shape (outputs,), and directions as columns, shape (outputs, outputs).
    """
    variances, directions = np.linalg.eigh(weight @ times(covariance, weight.T))
    return np.maximum(variances[::-1], 0.0), directions[:, ::-1]


def times(covariance: F64, columns: F64) -> F64:
    """A covariance, or variances alone, times a matrix."""
    return np.asarray(covariance[:, None] * columns if covariance.ndim == 1 else covariance @ columns, np.float64)


def variance_of(weight: F64, covariance: F64) -> float:
    """Sum of the variances of all outputs."""
    return float(np.vdot(weight, times(covariance, weight.T).T))


def refitted(weight: F64, first: F64, covariance: F64) -> F64:
    """The matrix that makes, of what ``first`` makes of the inputs, outputs nearest to those of ``weight``.

    Args:
        weight: shape (outputs, inputs).
        first: shape (between, inputs).
        covariance: of the inputs, or their variances alone.

    Returns:
        Shape (outputs, between).
    """
    seen = times(covariance, first.T)
    between = first @ seen
    between[np.diag_indices_from(between)] += _STEADY * max(float(np.trace(between)) / len(between), 1e-300)
    return np.asarray(np.linalg.solve(between, seen.T @ weight.T).T, np.float64)


def truncated(weight: F64, covariance: F64, rank: int) -> tuple[F64, F64]:
    """The two factors of that rank whose product's outputs are nearest to the matrix's.

    With the unit matrix as covariance this is the truncated singular value decomposition (Eckart and Young, 1936).

    Returns:
        Shapes (outputs, rank) and (rank, inputs).

    Source:
        Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection", IEEE TPAMI 38, 2016, eq. 4.
    """
    directions = output_directions(weight, covariance)[1][:, :rank]
    return directions, directions.T @ weight


def eliminated(weight: F64, rank: int) -> tuple[F64, F64]:
    """The first columns and rows of an LU decomposition with complete pivoting, put back into the matrix's order.

    Returns:
        Shapes (outputs, rank) and (rank, inputs); exact at the matrix's own rank.

    Source:
        Golub and Van Loan, "Matrix Computations", 4th edition, section 3.4.8.
    """
    left = np.array(weight, np.float64)
    lower, upper = np.zeros((len(left), rank)), np.zeros((rank, left.shape[1]))
    for step in range(rank):
        row, column = np.unravel_index(np.abs(left).argmax(), left.shape)
        if left[row, column] == 0.0:
            break
        lower[:, step], upper[step] = left[:, column] / left[row, column], left[row].copy()
        left -= np.outer(lower[:, step], upper[step])
    return lower, upper


def spatial(kernel: F64, rank: int) -> tuple[F64, F64]:
    """A kernel as columns behind which rows stand: (rank, inputs, height, 1), then (outputs, rank, 1, width).

    Source:
        Jaderberg et al., "Speeding up Convolutional Neural Networks with Low Rank Expansions", BMVC 2014, scheme 2.
    """
    outputs, inputs, height, width = kernel.shape
    left, values, right = np.linalg.svd(kernel.transpose(1, 2, 0, 3).reshape(inputs * height, outputs * width), full_matrices=False)
    root = np.sqrt(values[:rank])
    columns = (left[:, :rank] * root).T.reshape(rank, inputs, height, 1)
    rows = (root[:, None] * right[:rank]).reshape(rank, outputs, 1, width).transpose(1, 0, 2, 3)
    return columns, np.ascontiguousarray(rows)


def tucker(kernel: F64, outputs: int, inputs: int) -> tuple[F64, F64, F64]:
    """A kernel of fewer inputs and outputs between two matrices, by higher-order orthogonal iteration.

    Args:
        kernel: shape (all outputs, all inputs, height, width).
        outputs, inputs: of the kernel in the middle.

    Returns:
        Matrix (inputs, all inputs), kernel (outputs, inputs, height, width), matrix (all outputs, outputs).

    Source:
        De Lathauwer et al., "On the Best Rank-1 and Rank-(R1, R2, ..., RN) Approximation of Higher-Order Tensors", SIAM
        Journal on Matrix Analysis 21, 2000; Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low
        Power Mobile Applications", ICLR 2016, for kernels.
    """
    before = _directions(kernel, 1)[:, :inputs]
    held = -1.0
    for _ in range(_STEPS):
        behind = _directions(np.einsum("oihw,ir->orhw", kernel, before, optimize=True), 0)[:, :outputs]
        before = _directions(np.einsum("oihw,or->rihw", kernel, behind, optimize=True), 1)[:, :inputs]
        middle = np.einsum("oihw,or,is->rshw", kernel, behind, before, optimize=True)
        energy = float(np.square(middle).sum())
        if energy <= held * (1.0 + 1e-6):
            break
        held = energy
    return before.T, middle, behind


def _directions(kernel: F64, axis: int) -> F64:
    """Left singular vectors of a kernel unfolded along an axis, the largest first."""
    rows = np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)
    return np.linalg.eigh(rows @ rows.T)[1][:, ::-1]


def canonical(kernel: F64, rank: int) -> tuple[F64, F64, F64, F64]:
    """A kernel as a sum of products of four vectors, by alternating least squares.

    It begins with the leading singular vectors of each unfolding, numbers drawn from a fixed seed behind them.

    Returns:
        Shapes (outputs, rank), (inputs, rank), (height, rank), (width, rank); all columns but those of the first have length 1.

    Source:
        Kolda and Bader, "Tensor Decompositions and Applications", SIAM Review 51, 2009, figure 3.3; Lebedev et al.,
        "Speeding-up Convolutional Neural Networks Using Fine-tuned CP-Decomposition", ICLR 2015, for kernels.
    """
    generator = np.random.default_rng(0)
    factors = [_begun(_directions(kernel, axis), rank, generator) for axis in range(4)]
    size, held = float(np.square(kernel).sum()), np.inf
    for _ in range(_STEPS):
        for axis in (1, 2, 3, 0):
            factors[axis] = _solved(kernel, factors, axis)
            if axis:
                factors[axis] /= np.maximum(np.linalg.norm(factors[axis], axis=0), 1e-300)
        left = float(np.square(kernel - np.einsum("or,ir,hr,wr->oihw", *factors, optimize=True)).sum())
        if left >= held * (1.0 - 1e-5) or left <= 1e-14 * size:
            break
        held = left
    return factors[0], factors[1], factors[2], factors[3]


def _begun(directions: F64, rank: int, generator: np.random.Generator) -> F64:
    drawn = generator.normal(size=(len(directions), max(rank - directions.shape[1], 0)))
    return np.concatenate([directions[:, :rank], drawn / np.linalg.norm(drawn, axis=0, keepdims=True)], axis=1)


def _solved(kernel: F64, factors: list[F64], axis: int) -> F64:
    """The factor of one axis that is best with the others as they are."""
    names, others = "oihw", [other for other in range(4) if other != axis]
    product = "oihw," + ",".join(f"{names[other]}r" for other in others) + f"->{names[axis]}r"
    seen = np.einsum(product, kernel, *(factors[other] for other in others), optimize=True)
    gram = np.prod([factors[other].T @ factors[other] for other in others], axis=0)
    gram[np.diag_indices_from(gram)] += _STEADY * max(float(np.trace(gram)) / len(gram), 1e-300)
    return np.asarray(np.linalg.solve(gram, seen.T).T)


def by_input(kernel: F64, filters: int) -> F64:
    """Of each input the few filters that all outputs' are nearest to being sums of.

    Args:
        kernel: shape (outputs, inputs, height, width).
        filters: of each input.

    Returns:
        Shape (inputs x filters, 1, height, width): the weight of a depthwise convolution.

    Source:
        Guo et al., "Network Decoupling: From Regular to Depthwise Separable Convolutions", BMVC 2018, theorem 1.
    """
    _, inputs, height, width = kernel.shape
    right = np.linalg.svd(kernel.transpose(1, 0, 2, 3).reshape(inputs, -1, height * width), full_matrices=False)[2]
    return np.ascontiguousarray(right[:, :filters].reshape(inputs * filters, 1, height, width))
