"""The operators with arithmetic on the way: what a network computes of each element before or after a move, in the move's pass.

>>> import torch
>>> from spacebatch import fused
>>> image = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4)
>>> fused.space_to_batch(image, 2, scale=1 / 15, bias=-0.5, dtype=torch.float16)[3, 0]
tensor([[-0.1666, -0.0333],
        [ 0.3667,  0.5000]], dtype=torch.float16)

Windows, `to_blocks`, `Blocks.restore` and `patchify` take the same words.
"""

from typing import TYPE_CHECKING, NoReturn

from ..reference.arithmetic import Arithmetic
from .functions import batch_to_space, space_to_batch

__all__ = ["Arithmetic", "batch_to_space", "space_to_batch"]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        from ..near_names import absent

        raise absent(__name__, name, __all__)
