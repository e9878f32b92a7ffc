"""Caffe2's SpaceToBatch and BatchToSpace: its arguments, operators, definitions and gradients, on arrays and tensors.

>>> import numpy as np
>>> from spacebatch import caffe2
>>> op = caffe2.create_operator("SpaceToBatch", inputs=["X"], outputs=["Y"], pad=2, block_size=3)
>>> op.run(np.zeros((1, 3, 5, 5), dtype=np.float32)).shape
(9, 3, 3, 3)

Each of the four pads counts for its own side, and `pad` for those that are not given; the original reads `pad_t`, and
`pad` for the other three. A batch that the block does not divide is an error; the original writes over its result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from . import spelling
from .caffe2_registry import (
    GradientMakerBase,
    OperatorDef,
    create_operator,
    get_gradient_defs,
    register_cpu_operator,
    register_gradient,
)
from .reference.arguments import Pair, as_integer, check_choice
from .spelling import ArrayT, Blocks, Words

__all__ = [
    "BatchToSpaceOp",
    "GetBatchToSpaceGradient",
    "GetSpaceToBatchGradient",
    "GradientMakerBase",
    "OperatorDef",
    "SpaceBatchOpBase",
    "SpaceToBatchOp",
    "batch_to_space",
    "batch_to_space_op_example",
    "create_operator",
    "get_gradient_defs",
    "register_cpu_operator",
    "register_gradient",
    "space_to_batch",
    "space_to_batch_op_example",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        from .near_names import absent

        raise absent(__name__, name, __all__)


@dataclass(frozen=True)
class SpaceBatchOpBase(ABC):
    """The arguments that both operators share, checked.

    >>> SpaceToBatchOp(pad=1, pad_l=0).paddings
    ((1, 1), (0, 1))

    Args:
        block_size: positive int, the block's height and width in elements.
        pad: elements on each side that has no pad of its own, 0 or more.
        pad_t, pad_l, pad_b, pad_r: elements at the top, left, bottom and right, 0 or more; None takes `pad`.
        order: "NCHW", the only one that Caffe2 implements.

    Raises:
        ValueError: a block below 1, a negative pad, another order.
        TypeError: a block or a pad that is no integer, an order that is no string.

    Source: Caffe2's SpaceBatchOpBase.
    """

    block_size: int = 2
    pad: int = 0
    pad_t: int | None = None
    pad_l: int | None = None
    pad_b: int | None = None
    pad_r: int | None = None
    order: str = "NCHW"
    type: ClassVar[str] = "SpaceBatch"

    def __post_init__(self) -> None:
        checked = {"block_size": as_integer(self.block_size, f"{self.type}: block_size")}
        if checked["block_size"] < 1:
            raise ValueError(f"{self.type}: block_size must be at least 1, got {checked['block_size']}")
        for name in ("pad", "pad_t", "pad_l", "pad_b", "pad_r"):
            value = getattr(self, name)
            if value is None and name != "pad":
                continue
            checked[name] = as_integer(value, f"{self.type}: {name}")
            if checked[name] < 0:
                raise ValueError(f"{self.type}: {name} must not be negative, got {checked[name]}")
        for name, number in checked.items():
            spelling.check_int64(f"{self.type}: {name}", number)
        check_choice(self.type, "order", self.order, ("NCHW",))
        for name, number in checked.items():
            object.__setattr__(self, name, number)

    @property
    def paddings(self) -> tuple[Pair, Pair]:
        """((top, bottom), (left, right)), in elements: the pads with `pad` in place of those that are not given."""

        def side(given: int | None) -> int:
            return self.pad if given is None else given

        return (side(self.pad_t), side(self.pad_b)), (side(self.pad_l), side(self.pad_r))

    @property
    def blocks(self) -> Blocks:
        """The numbers in the form that both operators share with the other spellings."""
        return Blocks((self.block_size, self.block_size), self.paddings, (2, 3))

    def words(self) -> Words:
        """How messages name those numbers."""

        def border(k: int) -> str:
            sides = ("pad_l", "pad_r") if k else ("pad_t", "pad_b")
            before, after = ("pad" if getattr(self, side) is None else side for side in sides)
            return f"({before}, {after})"

        def remedy(k: int, missing: int) -> str:
            return f"{'pad_r' if k else 'pad_b'}={self.paddings[k][1] + missing} would do"

        return Words(self.type, lambda k: "block_size", border, "block_size**2", remedy)

    def check_input(self, input: Any) -> None:
        """The input is a 4-D array or tensor, or ValueError (TypeError if it is neither)."""
        if not isinstance(input, np.ndarray) and not spelling.is_tensor(input):
            raise TypeError(
                f"{self.type}: the input must be a torch.Tensor or a numpy.ndarray, got {type(input).__name__}"
            )
        if input.ndim != 4:
            raise ValueError(f"{self.type}: the input must be 4-D, (N, C, H, W), got {input.ndim}-D")

    @abstractmethod
    def run_on_device(self, input: ArrayT) -> ArrayT:
        """The operator's output for the given input, on the input's device."""


@register_cpu_operator("SpaceToBatch")
class SpaceToBatchOp(SpaceBatchOpBase):
    """Caffe2's SpaceToBatch with its arguments kept; they are those of `SpaceBatchOpBase`.

    >>> SpaceToBatchOp(block_size=3, pad=2).run_on_device(np.ones((1, 3, 5, 5))).shape
    (9, 3, 3, 3)

    Source: Caffe2's SpaceToBatchOp.
    """

    type = "SpaceToBatch"

    def run_on_device(self, input: ArrayT) -> ArrayT:
        """Pad with zeros and move blocks of the height and width into the batch.

        >>> SpaceToBatchOp(pad_l=1, pad_r=1).run_on_device(np.array([[[[1, 2], [3, 4]]]])).tolist()
        [[[[0, 2]]], [[[1, 0]]], [[[0, 4]]], [[[3, 0]]]]

        Args:
            input: array or tensor of shape (N, C, H, W), any dtype, any device.

        Returns:
            What the input is, of shape (N * block_size**2, C, (pad_t + H + pad_b) / block_size,
            (pad_l + W + pad_r) / block_size); its batch index is the position in the block times N, plus the sample.

        Raises:
            ValueError: not 4-D, a padded size that block_size does not divide.
            TypeError: neither array nor tensor.

        Source: Caffe2's SpaceToBatchOp::RunOnDevice.
        """
        self.check_input(input)
        return spelling.space_to_batch(self.words, input, self.blocks)


@register_cpu_operator("BatchToSpace")
class BatchToSpaceOp(SpaceBatchOpBase):
    """Caffe2's BatchToSpace with its arguments kept; they are those of `SpaceBatchOpBase`, and the pads are cropped.

    >>> BatchToSpaceOp(block_size=3, pad=2).run_on_device(np.ones((9, 3, 3, 3))).shape
    (1, 3, 5, 5)

    Source: Caffe2's BatchToSpaceOp.
    """

    type = "BatchToSpace"

    def run_on_device(self, input: ArrayT) -> ArrayT:
        """Move blocks from the batch back into the height and width, and crop.

        >>> BatchToSpaceOp(pad_t=1).run_on_device(np.arange(4).reshape(4, 1, 1, 1)).tolist()
        [[[[2, 3]]]]

        Args:
            input: array or tensor of shape (N * block_size**2, C, H, W), any dtype, any device.

        Returns:
            What the input is, of shape (N, C, H * block_size - pad_t - pad_b, W * block_size - pad_l - pad_r).

        Raises:
            ValueError: not 4-D, a batch that block_size**2 does not divide, pads beyond the size.
            TypeError: neither array nor tensor.

        Source: Caffe2's BatchToSpaceOp::RunOnDevice.
        """
        self.check_input(input)
        return spelling.batch_to_space(self.words, input, self.blocks)


@register_gradient("SpaceToBatch")
class GetSpaceToBatchGradient(GradientMakerBase):
    """The gradient of SpaceToBatch: BatchToSpace with the same arguments.

    >>> op = create_operator("SpaceToBatch", inputs=["X"], outputs=["Y"], pad=1)
    >>> gradient = GetSpaceToBatchGradient(op).get_gradient_defs()[0]
    >>> gradient.type, gradient.inputs, gradient.outputs, gradient.arguments
    ('BatchToSpace', ('Y_grad',), ('X_grad',), (('pad', 1),))

    Args:
        definition: the SpaceToBatch operator.

    Raises:
        TypeError: a definition that is no `OperatorDef`.

    Source: Caffe2's GetSpaceToBatchGradient.
    """

    def get_gradient_defs(self) -> list[OperatorDef]:
        return self.single_gradient_def("BatchToSpace", [self.go(0)], [self.gi(0)])


@register_gradient("BatchToSpace")
class GetBatchToSpaceGradient(GradientMakerBase):
    """The gradient of BatchToSpace: SpaceToBatch with the same arguments, zero where the output was cropped.

    >>> op = create_operator("BatchToSpace", inputs=["X"], outputs=["Y"], pad_t=1)
    >>> gradient = GetBatchToSpaceGradient(op).get_gradient_defs()[0]
    >>> gradient.run(np.array([[[[5, 6]]]])).ravel().tolist()
    [0, 0, 5, 6]

    Args:
        definition: the BatchToSpace operator.

    Raises:
        TypeError: a definition that is no `OperatorDef`.

    Source: Caffe2's GetBatchToSpaceGradient.
    """

    def get_gradient_defs(self) -> list[OperatorDef]:
        return self.single_gradient_def("SpaceToBatch", [self.go(0)], [self.gi(0)])


def space_to_batch(
    input: ArrayT,
    block_size: int = 2,
    pad: int = 0,
    pad_t: int | None = None,
    pad_l: int | None = None,
    pad_b: int | None = None,
    pad_r: int | None = None,
    order: str = "NCHW",
) -> ArrayT:
    """`spacebatch.space_to_batch` with Caffe2's arguments.

    >>> space_to_batch(np.array([[[[1, 2], [3, 4]]]]), pad_b=2).tolist()
    [[[[1], [0]]], [[[2], [0]]], [[[3], [0]]], [[[4], [0]]]]

    Args:
        input: array or tensor of shape (N, C, H, W), any dtype, any device.
        block_size, pad, pad_t, pad_l, pad_b, pad_r, order: see `SpaceBatchOpBase`.

    Returns:
        See `SpaceToBatchOp.run_on_device`. Its gradient is `batch_to_space` with the same numbers.

    Raises:
        ValueError, TypeError: see `SpaceBatchOpBase` and `SpaceToBatchOp.run_on_device`.

    Source: Caffe2's SpaceToBatch.
    """
    return SpaceToBatchOp(block_size, pad, pad_t, pad_l, pad_b, pad_r, order).run_on_device(input)


def batch_to_space(
    input: ArrayT,
    block_size: int = 2,
    pad: int = 0,
    pad_t: int | None = None,
    pad_l: int | None = None,
    pad_b: int | None = None,
    pad_r: int | None = None,
    order: str = "NCHW",
) -> ArrayT:
    """`spacebatch.batch_to_space` with Caffe2's arguments: the pads are what is cropped.

    >>> batch_to_space(np.arange(4).reshape(4, 1, 1, 1), pad_l=1).tolist()
    [[[[1], [3]]]]

    Args:
        input: array or tensor of shape (N * block_size**2, C, H, W), any dtype, any device.
        block_size, pad, pad_t, pad_l, pad_b, pad_r, order: see `SpaceBatchOpBase`.

    Returns:
        See `BatchToSpaceOp.run_on_device`. Its gradient is `space_to_batch` with the same numbers.

    Raises:
        ValueError, TypeError: see `SpaceBatchOpBase` and `BatchToSpaceOp.run_on_device`.

    Source: Caffe2's BatchToSpace.
    """
    return BatchToSpaceOp(block_size, pad, pad_t, pad_l, pad_b, pad_r, order).run_on_device(input)


def space_to_batch_op_example() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Run and print the example of Caffe2's documentation of SpaceToBatch, on numbers that can be followed by eye.

    >>> x, y = space_to_batch_op_example()  # doctest: +ELLIPSIS
    X: [[[[ 0.  1.  2.  3.  4.]
    ...
    X.shape: (1, 3, 5, 5)
    Y: [[[[ 0.  0.  0.]
    ...
    Y.shape: (9, 3, 3, 3)
    >>> y[4, 0].tolist()  # the middle of each block of 3 by 3, after 2 rows and columns of padding
    [[0.0, 0.0, 0.0], [0.0, 12.0, 0.0], [0.0, 0.0, 0.0]]

    Returns:
        (X, Y): float32 arrays of shapes (1, 3, 5, 5) and (9, 3, 3, 3), for pad=2 and block_size=3.

    Source: Caffe2's documentation of SpaceToBatch.
    """
    op = create_operator("SpaceToBatch", ["X"], ["Y"], pad=2, block_size=3)
    x = np.arange(75, dtype=np.float32).reshape(1, 3, 5, 5)
    return _print_and_return(x, op.run(x))


def batch_to_space_op_example() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Run and print the way back from `space_to_batch_op_example`.

    Caffe2's own example of BatchToSpace has a batch of 10 for blocks of 2 by 2, which no SpaceToBatch makes.

    >>> x, y = batch_to_space_op_example()  # doctest: +ELLIPSIS
    X: [[[[ 0.  0.  0.]
    ...
    X.shape: (9, 3, 3, 3)
    Y: [[[[ 0.  1.  2.  3.  4.]
    ...
    Y.shape: (1, 3, 5, 5)

    Returns:
        (X, Y): float32 arrays of shapes (9, 3, 3, 3) and (1, 3, 5, 5), for pad=2 and block_size=3.

    Source: Caffe2's documentation of BatchToSpace.
    """
    op = create_operator("BatchToSpace", ["X"], ["Y"], pad=2, block_size=3)
    x = space_to_batch(np.arange(75, dtype=np.float32).reshape(1, 3, 5, 5), block_size=3, pad=2)
    return _print_and_return(x, op.run(x))


def _print_and_return(
    x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    print("X:", x)
    print("X.shape:", x.shape)
    print("Y:", y)
    print("Y.shape:", y.shape)
    return x, y
