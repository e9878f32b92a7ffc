"""The one table of named cases: sizes, blocks and borders, each standing for a regime the code treats apart."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import pytest

from spacebatch import BlockGeometry


class Case(NamedTuple):
    """Arguments of one `space_to_batch` call; `batch_to_space` takes the inverse of its geometry."""

    id: str
    shape: tuple[int, ...]
    block: Any
    paddings: Any = 0
    dims: Any = None
    shifts: Any = 0

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "block_shape": self.block,
            "paddings": self.paddings,
            "spatial_dims": self.dims,
            "shifts": self.shifts,
        }

    def geometry(self, **options: Any) -> BlockGeometry:
        return BlockGeometry(self.shape, **self.arguments, **options)


CASES = (
    # whole blocks, nothing padded: a single copy
    Case("1d", (2, 6), (3,)),
    Case("1d_with_channels", (2, 3, 6), 3),
    Case("2d", (2, 3, 4, 6), 2),
    Case("2d_blocks_differ", (2, 3, 4, 6), (2, 3)),
    Case("3d", (2, 2, 4, 2, 6), (2, 1, 3)),
    Case("6d_all_but_the_batch", (1, 2, 3, 2, 2, 2), (2, 3, 1, 2, 2)),
    # blocks of one: the output equals the input, and must not be it
    Case("block_of_ones", (2, 3, 2, 2), 1),
    Case("block_of_ones_padded", (2, 1, 2, 3), 1, ((1, 0), (0, 2))),
    Case("all_of_size_one", (1, 1, 1, 1), 1),
    # a block as large as the dim: one element is left along it
    Case("block_takes_the_dim", (2, 2, 4, 3), (4, 3)),
    Case("prime_block", (1, 2, 7), (7,)),
    # the border: less than a block, more than a block, on one side, wider than the tensor
    Case("symmetric_border", (1, 2, 4, 4), 3, 1),
    Case("caffe2_block_3_pad_2", (1, 3, 5, 5), 3, 2),
    Case("each_dim_its_border", (1, 2, 4, 4), (2, 3), (1, 4)),
    Case("asymmetric_border", (2, 1, 5, 7), (3, 2), ((0, 1), (2, 3))),
    Case("border_before_only", (1, 2, 5), (4,), ((3, 0),)),
    Case("border_after_only", (1, 2, 5), (4,), ((0, 3),)),
    Case("border_wider_than_a_block", (1, 1, 3, 3), 2, ((5, 0), (0, 5))),
    Case("border_wider_than_the_tensor", (2, 1), (2,), ((4, 3),)),
    Case("some_phases_only_border", (1, 1, 1), (3,), ((1, 1),)),
    # the input covers a part of one block, of two, of a first, whole ones and a last
    Case("inside_one_block", (1, 2), (5,), ((1, 2),)),
    Case("across_two_blocks", (1, 4), (5,), ((3, 3),)),
    Case("first_whole_last", (1, 11), (4,), ((3, 2),)),
    # "auto": nothing, something, per dim
    Case("auto_nothing", (1, 2, 4, 6), 2, "auto"),
    Case("auto_each_dim", (1, 3, 5, 7), (2, 4), "auto"),
    # which dims: reversed, TensorFlow's layout, negative, with a gap, one by name, the last dim left alone
    Case("dims_reversed", (2, 4, 6), (3, 2), 0, (2, 1)),
    Case("dims_channels_last", (2, 4, 6, 3), (2, 2), 0, (1, 2)),
    Case("dims_negative", (2, 4, 6, 3), (3, 2), ((1, 1), (0, 0)), (-3, -2)),
    Case("dims_with_a_gap", (2, 4, 3, 5), (2, 3), ((0, 0), (1, 0)), (1, 3)),
    Case("dims_one_int", (2, 4, 3), 2, 0, 1),
    Case("dims_unordered_padded", (1, 3, 2, 5), (2, 3, 2), ((1, 0), (0, 0), (2, 2)), (3, 1, 2)),
    # a cyclic shift: within blocks, across blocks, of padded dims, of one dim, and of what is one block or blocks of one
    Case("shifted", (2, 2, 6, 4), (3, 2), shifts=-1),
    Case("shifted_padded", (1, 2, 5, 7), (3, 2), ((1, 0), (2, 3)), shifts=(4, -5)),
    Case("shifted_one_of_two", (2, 4, 6, 3), (2, 3), ((0, 0), (1, 2)), (1, 2), (0, 4)),
    Case("shifted_blocks_of_one", (1, 2, 5, 3), (1, 3), ((0, 1), (0, 0)), shifts=(2, 1)),
    # a row of many elements: wider than a machine word of small ones
    Case("wide_row", (1, 2, 2, 37), (1, 4), ((0, 0), (2, 1))),
    # nothing in it: no samples, no channels, no space, space that is all border, a border around nothing
    Case("no_samples", (0, 3, 4, 4), 2),
    Case("no_samples_padded", (0, 3, 3, 4), 2, ((1, 0), (1, 1))),
    Case("no_channels", (2, 0, 4, 4), 2),
    Case("no_space", (2, 2, 0, 4), 2),
    Case("space_all_border", (2, 2, 0, 3), (2, 3), ((2, 2), (0, 0))),
    Case("space_all_border_in_both", (1, 2, 0, 0), 2, 1),
)

# Both batch orders x both arrangements.
OPTIONS = tuple(
    {"batch_order": order, "arrangement": arrangement}
    for order, arrangement in itertools.product(("block_major", "batch_major"), ("interleaved", "contiguous"))
)


def named(*ids: str) -> tuple[Case, ...]:
    """The cases of these ids, for tests too slow to run them all."""
    by_id = {case.id: case for case in CASES}
    return tuple(by_id[name] for name in ids)


def option_id(options: dict[str, str]) -> str:
    return "-".join(options.values())


def elements(case: Case) -> int:
    return math.prod(case.shape)


each_case = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
each_option = pytest.mark.parametrize("options", OPTIONS, ids=option_id)


def each_of(*ids: str) -> pytest.MarkDecorator:
    """`each_case`, of these cases only."""
    return pytest.mark.parametrize("case", named(*ids), ids=list(ids))
