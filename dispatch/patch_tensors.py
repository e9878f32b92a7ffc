"""Patches of tensors as tokens, and back: eager, with gradients, and in PyTorch's own operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spacebatch.reference.arithmetic import NO_OPERANDS
from spacebatch.reference.image_lists import backend_of, checked_list
from spacebatch.reference.llvm import openmp
from spacebatch.reference.normalization import normalized
from spacebatch.reference.patch_tokens import (
    DIMS,
    Patches,
    TokenOrder,
    grids_of_images,
    move_by_kernels,
    offsets_of,
    token_order,
)
from spacebatch.reference.patches import check_dims, checked_limit, checked_tokens, image_shapes
from spacebatch.reference.words import FactorWords, words_of

from .block_tensors import beside, check_tensors, route_of_all
from .checks import check_tensor
from .fused.lists import OnWay, on_way
from .huge_pages import advised


class Plan(NamedTuple):
    """What a call and its gradient need to know.

    Attributes:
        order: of the tokens. grid: patches of each image in time, height and width.
        offsets: the number of each image's first token, and of all.
        way: what is computed, if anything is.
    """

    op: str
    order: TokenOrder
    grid: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    way: OnWay | None = None

    def inside(self, channels: int) -> list[int]:
        """The sizes inside a token, in its order."""
        inner = self.order.inner(channels)
        return [inner[DIMS.index(letter)] for letter in self.order.token]


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
    order = token_order(op, patch_size, merge, temporal, layout, token)
    tensors = (images,) if isinstance(images, Tensor) else checked_list(op, images, "torch.Tensor")
    check_tensors(op, tensors)
    check_dims(op, [x.dim() for x in tensors], layout)
    backend_of(op, "tensors", ("llvm", "torch"))
    first, full = tensors[0], [_full(x, order, layout) for x in tensors]
    grid = grids_of_images(op, [x.shape for x in full], order)
    limit = checked_limit(op, grid, max_num_patches)
    way = None
    if given:
        words = normalized(op, given, not first.is_floating_point(), full[0].shape[order.places[1]])
        words = words._replace(scale=_factor(words.scale, first), bias=_factor(words.bias, first))
        way = on_way(op, words, first, full[0].shape, order.cut_dims, order.places[1])
    tokens = _tokens_of(Plan(op, order, grid, offsets_of(grid, limit), way), full)
    shape = (tokens.shape[0],) if limit is None else (len(full), limit)
    mask = None if limit is None else beside(np.arange(limit) < grid.prod(axis=1)[:, None], tokens)
    seqlens = beside(offsets_of(grid, None).astype(np.int32), tokens)
    return Patches(tokens.reshape(*shape, tokens[:1].numel() or 0), beside(grid, tokens), seqlens, mask)


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
    images = _images_of(Plan(op, order, grid, offsets, way), split)
    for letter in reversed([letter for letter in order.layout if letter not in layout]):
        images = [x.squeeze(order.layout.index(letter)) for x in images]
    return images


def _factor(value: Any, x: Tensor) -> Any:
    """Scale or bias; an array of a mean or a standard deviation as a tensor beside the images."""
    if not isinstance(value, np.ndarray):
        return value
    return _kept_factor(tuple(value.tolist()), torch.float64 if x.dtype is torch.float64 else torch.float32, x.device)


@lru_cache(maxsize=64)
def _kept_factor(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=dtype, device=device)


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


def _filled_tokens(plan: Plan, images: Sequence[Tensor]) -> Tensor:
    first = images[0]
    if first.is_complex() or any(x.is_neg() for x in images):
        images = [x.resolve_conj().resolve_neg() for x in images]
    inside = plan.inside(first.shape[plan.order.places[1]])
    tokens = advised(first.new_empty((int(plan.offsets[-1]), *inside), dtype=plan.way and plan.way.dtype))
    _move(plan, True, images, tokens)
    for start, count, stop in zip(plan.offsets, plan.grid.prod(axis=1), plan.offsets[1:], strict=False):
        if start + count < stop:
            tokens[start + count : stop] = 0
    return tokens


def _filled_images(plan: Plan, tokens: Tensor) -> list[Tensor]:
    tokens = tokens.resolve_conj().resolve_neg()
    channels = tokens.shape[1 + plan.order.token.index("C")]
    dtype = plan.way and plan.way.dtype
    images = [advised(tokens.new_empty(shape, dtype=dtype)) for shape in image_shapes(plan.grid, plan.order, channels)]
    _move(plan, False, images, tokens)
    return images


def _move(plan: Plan, to_tokens: bool, images: Sequence[Tensor], tokens: Tensor) -> None:
    order, way, source = plan.order, plan.way, images[0] if to_tokens else tokens
    if tokens.is_cpu:
        inside = [1 + order.token.index(letter) for letter in DIMS]
        where = [tokens.shape[d] for d in inside], [tokens.stride(d) for d in (0, *inside)], tokens.data_ptr()
        found = [x.shape for x in images], [x.stride() for x in images], [x.data_ptr() for x in images]
        threads, library = openmp.threads(), openmp.loaded()
        arithmetic, operands, held = None, NO_OPERANDS, None
        if way is not None:
            arithmetic, _, operands, held = way.addressed(source, 0, False)
        given = plan.offsets[:-1], source.itemsize, threads, library, arithmetic, operands
        if move_by_kernels(plan.op, to_tokens, order, found, where, *given):
            return
        del held  # until now
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
