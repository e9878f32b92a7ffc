"""`spacebatch.required_paddings`: what makes sizes divisible by their blocks."""

from __future__ import annotations

from collections.abc import Sequence

from .arguments import (
    INT64_MAX,
    BlockShape,
    Pair,
    as_sequence,
    checked_shape,
    is_scalar,
    normalize_blocks,
    normalize_borders,
    shown,
)


def required_paddings(
    input_shape: Sequence[int], block_shape: BlockShape, base_paddings: Sequence[Sequence[int]] | None = None
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """The paddings that make every size divisible by its block, and the crops that undo what was added for that.

    >>> required_paddings((5, 7), (2, 4), ((1, 0), (0, 0)))
    (((1, 0), (0, 1)), ((0, 0), (0, 1)))

    Args:
        input_shape: sizes of the blocked dims.
        block_shape: block sizes, one per size, or an int for all of them.
        base_paddings: (before, after) pairs that are wanted in any case; zero by default.

    Returns:
        (paddings, crops), one pair per size. The base paddings are in `paddings` and not in `crops`.

    Raises:
        ValueError: lengths that differ, a block below 1, a negative size or padding, a padded size or a block that does
            not fit a signed 64-bit integer.
        TypeError: an entry that is no integer.

    Source: TensorFlow's `required_space_to_batch_paddings`.
    """
    op = "required_paddings"
    sizes = checked_shape(op, input_shape, "input_shape")
    dims = tuple(range(1, len(sizes) + 1))
    if not is_scalar(block_shape):
        block_shape = as_sequence(block_shape, f"{op}: block_shape", "an integer or a sequence of integers")
        if len(sizes) != len(block_shape):
            raise ValueError(f"{op}: input_shape has {len(sizes)} entries and block_shape {len(block_shape)}")
    blocks, _ = normalize_blocks(op, len(sizes) + 1, block_shape, dims)
    base = normalize_borders(op, "base_paddings", 0 if base_paddings is None else base_paddings, dims)
    assert base is not None
    paddings, crops = [], []
    for k, (size, block, (before, after)) in enumerate(zip(sizes, blocks, base, strict=True)):
        extra = -(size + before + after) % block
        if max(size + before + after + extra, block) > INT64_MAX:
            raise ValueError(
                f"{op}: size {shown(size)} padded to whole blocks of {shown(block)} is more than 2**63 - 1 along dim {k}"
            )
        paddings.append((before, after + extra))
        crops.append((0, extra))
    return tuple(paddings), tuple(crops)
