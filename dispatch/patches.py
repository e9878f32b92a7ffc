"""`spacebatch.patchify` and `spacebatch.unpatchify`: arrays go to the reference, which needs no torch, tensors to `patch_tensors`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spacebatch.reference import patches as arrays
from spacebatch.reference.patch_tokens import Patches

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from spacebatch.reference.words import FactorWords, PatchWords


def _tensors(x: Any) -> Any:
    """The functions for tensors if x is one, or holds one, else None."""
    first = x[0] if isinstance(x, (list, tuple)) and x else x
    if isinstance(first, np.ndarray) or sys.modules.get("torch") is None:
        return None
    from . import block_tensors, patch_tensors

    return patch_tensors if block_tensors.is_tensor(first) else None


def patchify(
    images: Any,
    patch_size: int | Sequence[int],
    *,
    merge: int = 1,
    temporal: int = 1,
    layout: str = "CHW",
    token: str = "CTHW",
    max_num_patches: int | None = None,
    **words: Unpack[PatchWords],
) -> Patches:
    """Turn images or videos of several sizes into the tokens of a vision transformer or a vision-language model, in one pass over memory.

    >>> import torch, spacebatch
    >>> images = [torch.rand(3, 56, 84), torch.rand(3, 28, 28)]
    >>> patches = spacebatch.patchify(images, 14, merge=2, temporal=2)
    >>> patches.tokens.shape, patches.grid_thw.tolist(), patches.cu_seqlens.tolist()
    (torch.Size([28, 1176]), [[1, 4, 6], [1, 2, 2]], [0, 24, 28])
    >>> restored = spacebatch.unpatchify(patches.tokens, patches.grid_thw, 14, merge=2, temporal=2)
    >>> torch.equal(restored[0], images[0])
    True

    | model | arguments |
    |---|---|
    | ViT (with the weight of its convolution flattened), Pixtral | `patchify(images, 16)` |
    | Qwen2-VL, Qwen2.5-VL | `patchify(images, 14, merge=2, temporal=2)` |
    | a video of theirs | `patchify(video, 14, merge=2, temporal=2, layout="TCHW")` |
    | SigLIP2 NaFlex | `patchify(images, 16, token="HWC", max_num_patches=256)` |
    | from the bytes of an image to normalized tokens | `…, mean=[0.48, 0.46, 0.41], std=[0.27, 0.26, 0.28], dtype=torch.bfloat16` |

    Args:
        images: a list or tuple of tensors or of NumPy arrays, or one of them, of one dtype and device; any strides.
        patch_size: rows and columns of a patch: an int, or (height, width).
        merge: tokens come in groups of merge x merge neighbours, as a model that merges them wants.
        temporal: frames of a patch. An image without "T" in its layout is repeated, and so is the last frame of a video.
        layout: what the dims of an image are: "CHW", "HWC", "HW", "TCHW", "THWC", "CTHW" …
        token: the order of the numbers in a token: "CTHW", "HWC", "CHW" …
        max_num_patches: pad each image's tokens with zeros to so many, and return a mask.
        words: what is computed on the way: scale, bias, activation and dtype as in `spacebatch.fused.space_to_batch`, or instead of the
            first two mean and std, a number or one for each channel: (x - mean) / std, with x / 255 for x where images are of integers.

    Returns:
        `Patches`: tokens, grid_thw, cu_seqlens and mask. Tokens of tensors have gradients of every order.

    Raises:
        ValueError: sizes that are not divisible by patch_size * merge, more patches than max_num_patches, images that do not fit together.
        TypeError: arguments of a wrong type.

    Source: the processors of Qwen2-VL, SigLIP2 and Pixtral in transformers.
    """
    found = _tensors(images)
    if found is not None:
        return found.patchify(images, patch_size, merge, temporal, layout, token, max_num_patches, words)  # type: ignore[no-any-return]
    return arrays.patchify(
        images,
        patch_size,
        merge=merge,
        temporal=temporal,
        layout=layout,
        token=token,
        max_num_patches=max_num_patches,
        **words,
    )


def unpatchify(
    tokens: Any,
    grid_thw: Any,
    patch_size: int | Sequence[int],
    *,
    merge: int = 1,
    temporal: int = 1,
    layout: str = "CHW",
    token: str = "CTHW",
    **words: Unpack[FactorWords],
) -> list[Any]:
    """Turn tokens back into images or videos: the inverse of `patchify` with the same arguments.

    >>> import numpy as np, spacebatch
    >>> image = np.arange(48).reshape(4, 4, 3)
    >>> tokens, grid, *_ = spacebatch.patchify(image, 2, layout="HWC", token="HWC")
    >>> np.array_equal(spacebatch.unpatchify(tokens, grid, 2, layout="HWC", token="HWC")[0], image)
    True

    Args:
        tokens: tensor or array, (tokens, numbers of a patch), or padded, (images, max_num_patches, numbers of a patch).
        grid_thw: patches of each image in time, height and width, (images, 3).
        patch_size, merge, temporal, layout, token: as given to `patchify`.
        words: what is computed on the way: scale, bias, activation and dtype, as in `spacebatch.fused.batch_to_space`.

    Returns:
        A list of new tensors or arrays. Without "T" in the layout they are the first frame of each patch; with it they have all frames,
        those that were repeated too.

    Raises:
        ValueError: tokens and grids that do not fit together. TypeError: arguments of a wrong type.
    """
    found = _tensors(tokens)
    if found is not None and not isinstance(tokens, (list, tuple)):
        return found.unpatchify(tokens, grid_thw, patch_size, merge, temporal, layout, token, words)  # type: ignore[no-any-return]
    options: Any = {"merge": merge, "temporal": temporal, "layout": layout, "token": token, **words}
    return arrays.unpatchify(tokens, grid_thw, patch_size, **options)
