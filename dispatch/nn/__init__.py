"""Modules: the two operators, dilated convolutions, and networks that stay in batch space.

>>> import torch, spacebatch
>>> spacebatch.nn.SpaceToBatch(2, paddings=1)
SpaceToBatch(block_shape=2, paddings=1)
"""

from typing import TYPE_CHECKING, NoReturn

from . import functional
from . import rules as rules
from .atrous import AtrousConv1d, AtrousConv2d, AtrousConv3d
from .atrous_transposed import AtrousConvTranspose1d, AtrousConvTranspose2d, AtrousConvTranspose3d
from .batch_space import BatchSpace
from .moves import BatchToSpace, SpaceToBatch

__all__ = [
    "AtrousConv1d",
    "AtrousConv2d",
    "AtrousConv3d",
    "AtrousConvTranspose1d",
    "AtrousConvTranspose2d",
    "AtrousConvTranspose3d",
    "BatchSpace",
    "BatchToSpace",
    "SpaceToBatch",
    "functional",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> NoReturn:
        from ..near_names import absent

        raise absent(__name__, name, __all__)


# Pickles name a class by its module, and these two were written when they stood here.
for _class in (SpaceToBatch, BatchToSpace):
    _class.__module__ = __name__
