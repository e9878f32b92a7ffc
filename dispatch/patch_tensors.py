"""Patches of tensors as tokens, and back: eager, with gradients, and in PyTorch's own operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spacebatch.reference import prepared
from spacebatch.reference.arithmetic import NO_OPERANDS, Operands
from spacebatch.reference.image_lists import MOST_REMEMBERED, backend_of, checked_list, remember
from spacebatch.reference.kept_geometries import key_of
from spacebatch.reference.llvm import openmp
from spacebatch.reference.memory_order import dense_strides
from spacebatch.reference.normalization import normalized
from spacebatch.reference.patch_tokens import (
    DIMS,
    Patches,
    Table,
    TokenOrder,
    gaps_of,
    grids_of_images,
    offsets_of,
    table_of,
    token_order,
)
from spacebatch.reference.patches import check_dims, checked_limit, checked_tokens, image_shapes
from spacebatch.reference.words import FactorWords, words_of

from .block_tensors import check_tensors, route_of_all
from .checks import check_tensor
from .fused.lists import OnWay, on_way
from .huge_pages import advised
from .routes import route_of

_EXACT = frozenset((int, float, bool, str, type(None)))  # of these a key tells the type and every bit


class Kernels(NamedTuple):
    """How compiled kernels run a call, where they do; operands are addresses of what is held."""

    table: Table | None
    operands: Operands
    held: Operands | None


class Plan(NamedTuple):
    """What a call and its gradient need to know.

    Attributes:
        order: of the tokens. grid: patches of each image in time, height and width.
        offsets: the number of each image's first token, and of all. gaps: the first and the one past the last of tokens that are padding.
        way: what is computed, if anything is.
    """

    op: str
    order: TokenOrder
    grid: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    gaps: Sequence[tuple[int, int]] = ()
    way: OnWay | None = None

    def inside(self, channels: int) -> list[int]:
        """The sizes inside a token, in its order."""
        inner = self.order.inner(channels)
        return [inner[DIMS.index(letter)] for letter in self.order.token]


class Call(NamedTuple):
    """What is known of a call of `patchify` that was checked, for those like it.

    Attributes:
        shape: of the tokens. beside: what is returned beside them, on the host.
        kernels: None where they were not asked.
    """

    plan: Plan
    shape: tuple[int, ...]
    beside: tuple[Tensor | None, ...]
    kernels: Kernels | None


_calls: dict[Any, Call] = {}
_ways: dict[Any, OnWay | None] = {}  # of calls that are alike but for the sizes


def patchify(
    images: Any,
    patch_size: Any,
    merge: Any,
    temporal: Any,
    layout: Any,
    token: Any,
    max_num_patches: Any,
    given: Mapping[str, Any],
) -> Patches:
    """`spacebatch.patchify` of tensors."""
    op = "patchify"
    tensors = (images,) if isinstance(images, Tensor) else checked_list(op, images, "torch.Tensor")
    key = _key(tensors, (patch_size, merge, temporal, layout, token, max_num_patches), given)
    call = None if key is None else _calls.get(key)
    if call is None:
        order = token_order(op, patch_size, merge, temporal, layout, token)
        check_tensors(op, tensors)
        check_dims(op, [x.dim() for x in tensors], layout)
        backend_of(op, "tensors", ("llvm", "torch"))
        full = [_full(x, order, layout) for x in tensors]
        call = _checked(op, order, full, max_num_patches, given, key)
        if key is not None:
            remember(_calls, key, call)
    else:
        full = [_full(x, call.plan.order, layout) for x in tensors]
    plan, shape, others, kernels = call
    tokens = _tokens_of(plan, full) if key is None else _filled_tokens(plan, full, kernels)
    return Patches(tokens.reshape(shape), *[None if x is None else x.to(tokens.device, copy=True) for x in others])


def _key(tensors: Sequence[Any], arguments: tuple[Any, ...], given: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """By what an eager call is known to be like one that was checked; None where nothing says so for sure."""
    if len(tensors) > MOST_REMEMBERED:
        return None
    how: list[Any] = []
    for x in tensors:
        if route_of(x) != "eager" or x.is_nested or x.is_neg() or x.is_conj():
            return None
        how += x.shape, x.stride(), x.dtype, x.device
    words = {**given}
    dtype = words.pop("dtype", None)
    for value in (*arguments, *words.values()):
        kind = type(value)
        if kind not in _EXACT and not ((kind is list or kind is tuple) and _EXACT.issuperset(map(type, value))):
            return None
    if dtype is not None and type(dtype) is not torch.dtype:
        return None
    return (*how, prepared.demanded, dtype, key_of(arguments, words))


def _checked(
    op: str, order: TokenOrder, full: Sequence[Tensor], max_num_patches: Any, given: Mapping[str, Any], key: Any
) -> Call:
    """A call with images in the full layout, its sizes and words checked; its key is None where it is not for others like it."""
    first = full[0]
    grid = grids_of_images(op, [x.shape for x in full], order)
    limit = checked_limit(op, grid, max_num_patches)
    channels = first.shape[order.places[1]]
    way = None
    if given:
        said = None if key is None else (*key[-2:], first.dtype, first.device, channels)
        way = None if said is None else _ways.get(said)
        if way is None:
            words = normalized(op, given, not first.is_floating_point(), channels)
            words = words._replace(scale=_factor(words.scale, first), bias=_factor(words.bias, first))
            way = on_way(op, words, first, first.shape, order.cut_dims, order.places[1])
            if said is not None:
                remember(_ways, said, way)
    unpadded = offsets_of(grid, None)
    offsets, mask = unpadded, None
    gaps: Sequence[tuple[int, int]] = ()
    count: tuple[int, ...] = (int(unpadded[-1]),)
    if limit is not None:
        offsets = offsets_of(grid, limit)
        gaps, count = gaps_of(grid, offsets), (len(full), limit)
        mask = torch.from_numpy(np.arange(limit) < grid.prod(axis=1)[:, None])
    plan = Plan(op, order, grid, offsets, gaps, way)
    inside = plan.inside(channels)
    kernels = None
    if key is not None and first.is_cpu:
        strides = dense_strides((1, *inside), range(1 + len(inside)))
        kernels = _kernels_of(plan, True, full, inside, strides, first, True)
    others = torch.from_numpy(grid), torch.from_numpy(unpadded.astype(np.int32)), mask
    return Call(plan, (*count, prod(inside)), others, kernels)


def unpatchify(
    tokens: Tensor,
    grid_thw: Any,
    patch_size: Any,
    merge: Any,
    temporal: Any,
    layout: Any,
    token: Any,
    given: Mapping[str, Any],
) -> list[Tensor]:
    """`spacebatch.unpatchify` of a tensor."""
    op = "unpatchify"
    order = token_order(op, patch_size, merge, temporal, layout, token)
    check_tensor(op, tokens)
    grid, inner, offsets = checked_tokens(op, tokens.shape, grid_thw, order, layout)
    backend_of(op, "tensors", ("llvm", "torch"))
    split = tokens.reshape(-1, *Plan(op, order, grid, offsets).inside(inner[1]))
    if "T" not in layout:  # a frame that was repeated
        split = split.narrow(1 + order.token.index("T"), 0, 1)
        order = replace(order, temporal=1)
    words = words_of(op, given, FactorWords) if given else None
    way = on_way(op, words, tokens, image_shapes(grid, order, inner[1])[0], order.cut_dims, order.places[1])
    gaps = gaps_of(grid, offsets) if tokens.dim() == 3 else ()
    images = _images_of(Plan(op, order, grid, offsets, gaps, way), split)
    for letter in reversed([letter for letter in order.layout if letter not in layout]):
        images = [x.squeeze(order.layout.index(letter)) for x in images]
    return images


def _factor(value: Any, x: Tensor) -> Any:
    """Scale or bias; an array of a mean or a standard deviation as a tensor beside the images."""
    if not isinstance(value, np.ndarray):
        return value
    with torch.inference_mode(False):
        return torch.tensor(
            value.tolist(), dtype=torch.float64 if x.dtype is torch.float64 else torch.float32, device=x.device
        )


def _full(x: Tensor, order: TokenOrder, layout: str) -> Tensor:
    """An image in the full layout, its last frame repeated up to whole patches."""
    if "C" not in layout:
        x = x.unsqueeze(order.layout.index("C") - ("T" not in layout))
    if "T" not in layout:
        return x.expand(order.temporal, *x.shape)
    time = order.layout.index("T")
    missing = -x.shape[time] % order.temporal
    if not missing or not x.shape[time]:
        return x
    last = x.narrow(time, x.shape[time] - 1, 1)
    return torch.cat([x, last.repeat_interleave(missing, dim=time)], dim=time)


def _tokens_of(plan: Plan, images: Sequence[Tensor]) -> Tensor:
    """Tokens, (tokens, …) in their order, of images in the full layout, by the route that these need.

    With a gradient, what is computed is computed apart.
    """
    if plan.way is not None:
        if route_of_all((*images, *plan.way.tensors)) == "eager":
            return _filled_tokens(plan, images)
        return _tokens_of(plan._replace(way=None), [plan.way.computed(x) for x in images])
    route = route_of_all(images)
    if route == "aten":
        return _aten_tokens(plan, images)
    return _filled_tokens(plan, images) if route == "eager" else _ToTokens.apply(plan, *images)  # type: ignore[no-untyped-call]


def _images_of(plan: Plan, tokens: Tensor) -> list[Tensor]:
    """Images in the full layout, likewise."""
    if plan.way is not None:
        if route_of_all((tokens, *plan.way.tensors)) == "eager":
            return _filled_images(plan, tokens)
        later = plan.order.channels_later - 4  # of tokens that are not split by their place
        return _images_of(plan._replace(way=None), plan.way.computed(tokens, later))
    route = route_of_all((tokens,))
    if route == "aten":
        return _aten_images(plan, tokens)
    return _filled_images(plan, tokens) if route == "eager" else list(_FromTokens.apply(plan, tokens))  # type: ignore[no-untyped-call]


class _ToTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, *images: Tensor) -> Tensor:
        ctx.plan = plan
        return _filled_tokens(plan, images)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return None, *_images_of(ctx.plan, grad)


class _FromTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, tokens: Tensor) -> tuple[Tensor, ...]:
        ctx.plan = plan
        return tuple(_filled_images(plan, tokens))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        return None, _tokens_of(ctx.plan, grads)


# Without a look for gradients


def _filled_tokens(plan: Plan, images: Sequence[Tensor], kernels: Kernels | None = None) -> Tensor:
    first = images[0]
    if first.is_complex() or any(x.is_neg() for x in images):
        images = [x.resolve_conj().resolve_neg() for x in images]
    inside = plan.inside(first.shape[plan.order.places[1]])
    tokens = advised(first.new_empty((int(plan.offsets[-1]), *inside), dtype=plan.way and plan.way.dtype))
    _move(plan, True, images, tokens, kernels)
    for start, stop in plan.gaps:
        tokens[start:stop] = 0
    return tokens


def _filled_images(plan: Plan, tokens: Tensor) -> list[Tensor]:
    tokens = tokens.resolve_conj().resolve_neg()
    channels = tokens.shape[1 + plan.order.token.index("C")]
    dtype = plan.way and plan.way.dtype
    images = [advised(tokens.new_empty(shape, dtype=dtype)) for shape in image_shapes(plan.grid, plan.order, channels)]
    _move(plan, False, images, tokens)
    return images


def _kernels_of(
    plan: Plan,
    to_tokens: bool,
    images: Sequence[Tensor],
    inside: Sequence[int],
    strides: Sequence[int],
    source: Tensor,
    kept: bool = False,
) -> Kernels:
    """How compiled kernels move tokens of these sizes and strides; whether this will be kept."""
    places = [plan.order.token.index(letter) for letter in DIMS]
    where = [inside[d] for d in places], [strides[0], *(strides[1 + d] for d in places)]
    found = [x.shape for x in images], [x.stride() for x in images]
    arithmetic, operands, held = None, NO_OPERANDS, None
    if plan.way is not None:
        arithmetic, _, operands, held = plan.way.addressed(source, 0, False)
    given = plan.offsets[:-1], source.itemsize, arithmetic, kept
    return Kernels(table_of(plan.op, to_tokens, plan.order, found, where, *given), operands, held)


def _move(
    plan: Plan, to_tokens: bool, images: Sequence[Tensor], tokens: Tensor, kernels: Kernels | None = None
) -> None:
    order, way = plan.order, plan.way
    if tokens.is_cpu:
        if kernels is None:
            source = images[0] if to_tokens else tokens
            kernels = _kernels_of(plan, to_tokens, images, tokens.shape[1:], tokens.stride(), source)
        table, operands, _ = kernels
        threads, library = openmp.threads(), openmp.loaded()
        addresses = [x.data_ptr() for x in images]
        if table is not None and table.move(addresses, tokens.data_ptr(), threads, library, operands):
            return
    for x, start in zip(images, plan.offsets.tolist(), strict=False):
        sizes, axes, permuted = order.split_of(x.shape)
        near = (way.computed(x) if way is not None and to_tokens else x).reshape(sizes).permute(axes)
        far = tokens[start : start + int(np.prod(permuted[:5]))].reshape(permuted)
        if to_tokens:
            far.copy_(near)
        else:
            near.copy_(far if way is None else way.computed(far, order.channels_later))


# In PyTorch's own operators


def _aten_tokens(plan: Plan, images: Sequence[Tensor]) -> Tensor:
    found = []
    for x, start, stop in zip(images, plan.offsets.tolist(), plan.offsets[1:].tolist(), strict=False):
        sizes, axes, permuted = plan.order.split_of(x.shape)
        tokens = x.reshape(sizes).permute(axes).reshape(-1, *permuted[5:])
        missing = stop - start - tokens.shape[0]
        found += [tokens, tokens.new_zeros((missing, *permuted[5:]))] if missing else [tokens]
    return torch.cat(found)


def _aten_images(plan: Plan, tokens: Tensor) -> list[Tensor]:
    found = []
    channels = tokens.shape[1 + plan.order.token.index("C")]
    for shape, start in zip(image_shapes(plan.grid, plan.order, channels), plan.offsets.tolist(), strict=False):
        _, axes, permuted = plan.order.split_of(shape)
        part = tokens[start : start + int(np.prod(permuted[:5]))].reshape(permuted)
        inverse = sorted(range(len(axes)), key=axes.__getitem__)
        found.append(part.permute(inverse).reshape(shape))
    return found
