"""Space-to-Batch and Batch-to-Space for PyTorch: Triton kernels on the GPU, compiled kernels on the CPU, gradients of every order.

>>> import torch, spacebatch
>>> x = torch.rand(1, 3, 5, 5)
>>> g = spacebatch.BlockGeometry(x.shape, 2, "auto")
>>> y = spacebatch.space_to_batch(x, **g.arguments)
>>> y.shape, torch.equal(spacebatch.batch_to_space(y, **g.inverse), x)
(torch.Size([4, 3, 3, 3]), True)

Arrays of NumPy need no torch: nothing here imports it before a name that is about tensors alone is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .blocks import to_blocks
from .explanation import Explanation, explain
from .functions import batch_to_space, space_to_batch
from .patches import patchify, unpatchify
from .reference.block_grids import BlockGrids
from .reference.blocks import Blocks
from .reference.geometry import BlockGeometry
from .reference.patch_tokens import Patches
from .reference.prepared import use_backend
from .reference.required_paddings import required_paddings
from .warm_up import warm_up

if TYPE_CHECKING:
    from . import caffe2, fused, nn, reference, tensorflow, windows
    from .compiled import use_compiled
    from .nn.block_choice import BlockChoice, choose_block
    from .nn.conversion_report import Conversion
    from .nn.convert_network import convert
    from .tiles.inference import tiled
    from .tiles.receptive_field import ReceptiveField, receptive_field

__version__ = "0.1.0"
__all__ = [
    "BlockChoice",
    "BlockGeometry",
    "BlockGrids",
    "Blocks",
    "Conversion",
    "Explanation",
    "Patches",
    "ReceptiveField",
    "batch_to_space",
    "caffe2",
    "choose_block",
    "convert",
    "explain",
    "fused",
    "nn",
    "patchify",
    "receptive_field",
    "reference",
    "required_paddings",
    "space_to_batch",
    "tensorflow",
    "tiled",
    "to_blocks",
    "unpatchify",
    "use_backend",
    "use_compiled",
    "warm_up",
    "windows",
]

_NEED_TORCH = {
    "BlockChoice": "nn.block_choice",
    "Conversion": "nn.conversion_report",
    "choose_block": "nn.block_choice",
    "convert": "nn.convert_network",
    "ReceptiveField": "tiles.receptive_field",
    "receptive_field": "tiles.receptive_field",
    "tiled": "tiles.inference",
    "use_compiled": "compiled",
    "nn": "nn",
}


def _with_torch(module: str) -> Any:
    """A module that needs torch, once the operators are registered."""
    try:
        import_module(".operators", __name__)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        message = "this part of spacebatch needs PyTorch, which is not installed; arrays of NumPy do not"
        raise ModuleNotFoundError(message, name="torch") from error
    return import_module(f".{module}", __name__)


if not TYPE_CHECKING:  # type checkers would take any name for one of the package

    def __getattr__(name: str) -> Any:
        if name in ("caffe2", "fused", "reference", "tensorflow", "windows"):
            return import_module(f".{name}", __name__)
        if name not in _NEED_TORCH:
            from .near_names import absent

            raise absent(__name__, name, __all__)
        module = _with_torch(_NEED_TORCH[name])
        return module if name == "nn" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
