"""Values that stay in batch space: tensors that are images to everybody, and cells to the rules that know them.

>>> import torch
>>> from spacebatch.nn.cells import enter
>>> h = value_of(enter(torch.randn(1, 1, 6), (2,)))
>>> type(torch.relu(h)).__name__, h.shape, type(h.flip(-1)).__name__
('BatchSpaceTensor', torch.Size([1, 1, 6]), 'Tensor')

`rules` say by torch function what may stay in batch space. Anything else gets the image: a copy of it where the function is
known to return memory of its own (`rules.READS`), else the value itself becomes the image, and with it all its aliases.

Autograd records what the rules do with a value's cells; to whatever meets the value without asking it, a custom `autograd.Function`,
say, it is a node behind its cells (`Link`), and what such code records is brought back to the cells (`Rejoin`).
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import torch
from torch import Tensor

from .. import routes, torch_private
from . import chains
from .autograd_nodes import Rejoin, Relink, link
from .batch_space_tensor import BatchSpaceTensor, Memory, Step, TracedBatchSpaceTensor, Value, graph, untouched, wrapper
from .cells import Cells, leave
from .entering import entered, recorded, version


def may_stay(x: Tensor) -> bool:
    """Whether results of an image may be values: plain tensors, outside of transforms, exports and other modes."""
    if torch.compiler.is_compiling():
        traced = graph.inside > 0 and torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting()
        return traced and torch_private.compiler_overrides()
    return routes.route_of(x) in ("eager", "autograd") and not torch_private.forward_ad_active()


def value_of(cells: Cells, like: Memory | None = None, source: Tensor | None = None) -> Tensor:
    """A value of its own with these cells; `like` is the memory of the value that it was computed from."""
    memory = Memory(cells.rate, cells)
    memory.source = source
    if like is not None:
        memory.chain = like.chain
        if source is None:
            memory.source = like.source
    return _made(memory, cells.tensor, cells.sizes, (), cells.last)


def wanting(image: Tensor, rate: tuple[int, ...], chain: Any = None) -> Tensor:
    """A value that is an image still: the first rule that gains by it enters batch space."""
    memory = Memory(rate, None, image)
    memory.chain = chain
    return _made(memory, image, tuple(image.shape[2:]), ())


def view_of(value: Any, step: Step, sizes: tuple[int, ...], tensor: Tensor, last: bool = False) -> Tensor:
    """A value that is a view of another one: `step` of its image, `tensor` of its cells."""
    seen = not value._own.requires_grad or tensor.requires_grad
    memory, view = value._memory, _made(value._memory, tensor, sizes, (*value._steps, (step, seen)), last)
    if type(value) is BatchSpaceTensor:
        if not memory.members:
            memory.members.append(weakref.ref(value))
        memory.members.append(weakref.ref(view))
    return view


def cells_of(value: Any, enters: bool = False, last: bool = False) -> Cells | None:
    """The cells of a value, None where its numbers are an image; `enters`: such an image is moved.

    `last`: the caller knows cells whose last dim are the channels; nobody else is given such.
    """
    memory = value._memory
    if value._last and not last:
        return None
    if memory.image is not None:
        if not enters or not may_stay(memory.image):
            return None
        plain = image_of(value)
        return entered(plain, memory.rate) if type(plain) in (Tensor, torch.nn.Parameter, torch.nn.Buffer) else None
    _rejoin(value)
    own = value._own
    if own.requires_grad and torch.is_grad_enabled():
        value._used = True
    clean = memory.cells.clean and value._sizes == memory.cells.sizes
    return Cells(own, memory.rate, value._sizes, clean, value._last)


def writable(value: Any) -> bool:
    """Whether a rule may write into the cells: those of a part of the image hold some that are not its own."""
    memory = value._memory
    return memory.cells is not None and value._sizes == memory.cells.sizes


def written(value: Any, keeps_clean: bool) -> Tensor:
    """The same value after a rule has written into its cells."""
    memory = value._memory
    memory.cells = memory.cells._replace(clean=memory.cells.clean and keeps_clean)
    value._copy = None
    if type(value) is BatchSpaceTensor:
        _relinked(value)
        for reference in memory.members:
            alias = reference()
            if alias is not None:
                _relinked(alias)
    return value  # type: ignore[no-any-return]


def _relinked(value: Any) -> None:
    """The value as autograd sees it, behind what has been written into."""
    behind = value._own if value._memory.image is None else value._plain
    if type(value) is not BatchSpaceTensor or behind is None or value._linked == version(behind):
        return
    if behind.requires_grad and torch.is_grad_enabled():
        with untouched():
            where = (value._memory.rate, value._last) if value._memory.image is None else None
            Relink.apply(value, behind, where)  # type: ignore[no-untyped-call]
            value._node = value.grad_fn
    value._linked = version(behind)


def copy_of(value: Any) -> Tensor:
    """An image of the value for code that neither writes into it nor keeps a view of it."""
    if value._memory.image is not None:
        return image_of(value)
    cells = cells_of(value, last=True)
    assert cells is not None
    now = version(cells.tensor)
    if value._copy is not None and value._copy[1] == now:
        return value._copy[0]  # type: ignore[no-any-return]
    chains.left(value._memory, cells)
    with recorded(cells.tensor):
        image = leave(cells)
    if now is not None:
        value._copy = (image, now)
    return image


def image_of(value: Any) -> Tensor:
    """The image that holds the numbers of the value and of its aliases, from now on."""
    memory = value._memory
    if memory.image is None:
        _rejoin(value)
        copy = value._copy if not value._steps else None
        base = memory.cells
        if copy is not None and copy[1] == version(base.tensor):
            memory.image = copy[0]
        else:
            chains.left(memory, base)
            with recorded(base.tensor):
                memory.image = leave(base)
        memory.cells = memory.source = None
    if value._plain is None:
        plain = memory.image
        for step, seen in value._steps:
            with recorded(plain) if seen else torch.no_grad():
                plain = step(plain)
        value._plain = plain
        value._copy = None
        if not value._used:
            value._own = None
        value._linked = version(plain)
    else:
        _rejoin(value)
        resynchronized(value)
    return value._plain  # type: ignore[no-any-return]


def become_image(value: Any) -> Tensor:
    """The value as an image, for code that may do anything with it; the very object turns into a plain tensor where it can."""
    memory = value._memory
    image = image_of(value)
    if type(value) is not BatchSpaceTensor or memory.given or (value._used and value._own is not None):
        return image
    with untouched():
        for name, attribute in vars(value).items():
            if name not in _FIELDS:
                setattr(image, name, attribute)
        try:
            torch.utils.swap_tensors(value, image)  # type: ignore[no-untyped-call]
        except RuntimeError:  # something refers to either of them: it stays what it is, and acts as the image
            return image
        vars(image).clear()  # it is the value now, and refers to itself
    if memory.image is image:
        memory.image = value
    return value


_FIELDS = {*Value.__annotations__}


def resynchronized(value: Any) -> None:
    """A value that acts as an image, after code that may have written into it."""
    if type(value) is BatchSpaceTensor and value._plain is not None and value._linked != version(value._plain):
        _relinked(value)
        value._own = None


def shown(value: Any) -> Tensor | None:
    """The image of a value that has one already."""
    if value._memory.image is not None:
        return value._plain  # type: ignore[no-any-return]
    kept = value._copy is not None and value._own is not None and value._copy[1] == version(value._own)
    return value._copy[0] if kept else None


def _made(memory: Memory, own: Tensor, sizes: tuple[int, ...], steps: Any, last: bool = False) -> Tensor:
    given = memory.image is not None
    samples = own.shape[0] if given else own.shape[0] // math.prod(memory.rate)
    shape = (samples, *sizes, own.shape[-1]) if last else (samples, own.shape[1], *sizes)
    value: Any
    if torch.compiler.is_dynamo_compiling():
        value = torch.full(shape, math.nan, dtype=own.dtype, device=own.device)
        value = value.as_subclass(TracedBatchSpaceTensor)
        value._node = None
    elif own.requires_grad:
        with untouched():
            value = link(own, None if given else (memory.rate, last), shape)
            value._node = value.grad_fn
    else:
        value = wrapper(own, shape)
        value._node = None
    value._linked = version(own)
    value._memory, value._own, value._sizes, value._steps, value._last = memory, own, sizes, steps, last
    value._plain, value._copy, value._used = None, None, False
    return value  # type: ignore[no-any-return]


def below(value: Any) -> Any:
    """The numbers of a value for what reached it below torch functions: the image's, in memory that it shares."""
    if not isinstance(value, BatchSpaceTensor):
        return value
    before = value._own if value._memory.image is None else value._plain
    if before is not None and before.requires_grad and value._linked not in (None, version(before)):
        raise RuntimeError(
            "spacebatch: an alias of this value in batch space has been written to, and a function that knows nothing of such "
            "values asks for it; give it a .clone()"
        )
    image = image_of(value)
    value._linked = version(image)
    return image.detach()


def _rejoin(value: Any) -> None:
    """Where autograd has recorded something on the value itself, its cells come from there."""
    if type(value) is not BatchSpaceTensor:
        return
    with untouched():
        if value.grad_fn is value._node:
            return
        memory: Any = value._memory
        if memory.image is None:
            own: Any = value._own
            like = Cells(own, memory.rate, value._sizes, False, value._last)
            value._own = Rejoin.apply(value, [own], like)  # type: ignore[no-untyped-call]
            if not value._steps:
                memory.cells = memory.cells._replace(tensor=value._own)
        else:
            value._plain = Rejoin.apply(value, [value._plain], None)  # type: ignore[no-untyped-call]
            if not value._steps:
                memory.image = value._plain
        value._node, value._copy = value.grad_fn, None
        value._linked = version(value._own) if value._own is not None else 0


graph.below = below
