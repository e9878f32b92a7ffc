"""What is aimed at, by row: the share of a copy's bandwidth, and the ratio to what else can be had."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One row of the goals.

    Attributes:
        text: which cells count for it.
        share: of the bandwidth of a copy of as many bytes in the same run; None where none is aimed at.
    """

    text: str
    share: float | None


ROWS = {
    "aligned": Row("aligned sizes, elements of 2 to 16 bytes, any block, padded or not", 0.95),
    "aligned, 1 byte": Row("the same with elements of 1 byte", 0.90),
    "odd": Row("odd widths, paddings, crops and blocks, elements of 2 bytes and more", 0.85),
    "odd, 1 byte": Row("the same with elements of 1 byte", 0.65),
    "strided": Row("sliced, transposed and expanded inputs, 32 bytes or more in a run", 0.85),
    "small": Row("up to 1 MB: the host's time, and 80% of a copy inside a CUDA graph", None),
    "cpu": Row("the CPU: not slower than any peer", None),
    "network": Row("shapes of real networks", None),
    "chosen": Row("chosen by options", None),
}
GRAPH_SHARE = 0.80  # of a captured copy, for small tensors inside a CUDA graph
MEANS = {"cuda": {"compile": 1.5, "eager": 2.5}, "cpu": {"tensorflow": 4.0, "eager": 1.5}}  # geometric means of ratios
NOISE = 0.02  # a call counts as not slower up to here: two timings of one call differ by as much
CPU_EXTRA_BYTES = 1 << 20  # of memory per thread, beside input and output


def row_of(dtype_bytes: int, aligned: bool, strided: bool = False) -> str:
    """The row of a large cell.

    >>> row_of(2, True), row_of(1, False), row_of(4, True, strided=True)
    ('aligned', 'odd, 1 byte', 'strided')
    """
    if strided:
        return "strided"
    return ("aligned" if aligned else "odd") + (", 1 byte" if dtype_bytes == 1 else "")
