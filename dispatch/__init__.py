"""Space-to-Batch and Batch-to-Space for PyTorch: Triton kernels on the GPU, NumPy on the CPU, gradients of every order.

>>> import torch, spacebatch
>>> x = torch.rand(1, 3, 5, 5)
>>> g = spacebatch.BlockGeometry(x.shape, 2, "auto")
>>> y = spacebatch.space_to_batch(x, **g.arguments)
>>> y.shape, torch.equal(spacebatch.batch_to_space(y, **g.inverse), x)
(torch.Size([4, 3, 3, 3]), True)

torch is imported when the first name that needs it is used, unless it is there already; `spacebatch.reference` works
without it, on NumPy alone.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .reference.geometry import BlockGeometry, required_paddings

if TYPE_CHECKING:
    from . import caffe2, nn, reference, tensorflow
    from .backends import use_backend
    from .compiled import use_compiled
    from .explanation import Explanation, explain
    from .functions import batch_to_space, space_to_batch
    from .nn.block_choice import BlockChoice, choose_block
    from .nn.conversion_report import Conversion
    from .nn.convert_network import convert

__version__ = "0.1.0"
__all__ = [
    "BlockChoice",
    "BlockGeometry",
    "Conversion",
    "Explanation",
    "batch_to_space",
    "caffe2",
    "choose_block",
    "convert",
    "explain",
    "nn",
    "reference",
    "required_paddings",
    "space_to_batch",
    "tensorflow",
    "use_backend",
    "use_compiled",
]

_SUBMODULES = ("caffe2", "nn", "reference", "tensorflow")
_HOME = {
    "batch_to_space": "functions",
    "space_to_batch": "functions",
    "use_backend": "backends",
    "use_compiled": "compiled",
    "Explanation": "explanation",
    "explain": "explanation",
}
# these bring torch.fx along
_LATER = {
    "BlockChoice": "nn.block_choice",
    "Conversion": "nn.conversion_report",
    "choose_block": "nn.block_choice",
    "convert": "nn.convert_network",
}


def _load() -> None:
    """Bring in everything that needs torch."""
    try:
        import_module(".operators", __name__)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        message = (
            "this part of spacebatch needs PyTorch, which is not installed; spacebatch.reference needs NumPy alone"
        )
        raise ModuleNotFoundError(message, name="torch") from error
    for name, module in _HOME.items():
        globals()[name] = getattr(import_module(f".{module}", __name__), name)


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        if name != "reference":
            _load()
        return import_module(f".{name}", __name__)
    if name in _HOME:
        _load()
        return globals()[name]
    if name in _LATER:
        _load()
        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if sys.modules.get("torch") is not None:
    _load()
