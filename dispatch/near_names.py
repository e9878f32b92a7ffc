"""What somebody may have meant who asks the package for a name that it does not have: other libraries call things differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

_NN = (
    "SpaceToBatch",
    "BatchToSpace",
    "BatchSpace",
    *(f"AtrousConv{t}{k}d" for t in ("", "Transpose") for k in (1, 2, 3)),
)
_WINDOWS = (
    *(
        "Windows",
        "Grid",
        "window_partition",
        "window_merge",
        "grid_partition",
        "grid_merge",
        "dilated_partition",
        "dilated_merge",
    ),
    *("polyphase", "inverse_polyphase", "time_to_batch", "batch_to_time", "space_to_depth", "depth_to_space"),
)
# Names in the rooms of the package, and those that other libraries have for the same thing.
ELSEWHERE = {
    **{name: f"nn.{name}" for name in _NN},
    **{name: f"windows.{name}" for name in _WINDOWS},
    "BatchToSpaceND": "tensorflow.batch_to_space_nd",
    "SpaceToBatchND": "tensorflow.space_to_batch_nd",
    "batch_to_space_nd": "tensorflow.batch_to_space_nd",
    "space_to_batch_nd": "tensorflow.space_to_batch_nd",
    "batch2space": "batch_to_space",
    "space2batch": "space_to_batch",
    "create_operator": "caffe2.create_operator",
    "required_space_to_batch_paddings": "required_paddings",
    "fold": "windows.window_merge",
    "unfold": "windows.window_partition",
    "im2col": "windows.window_partition",
    "patch_embed": "patchify",
    "unpatch": "unpatchify",
    "pixel_shuffle": 'windows.depth_to_space(…, order="CRD")',
    "pixel_unshuffle": 'windows.space_to_depth(…, order="CRD")',
    "PixelShuffle": 'windows.depth_to_space(…, order="CRD")',
    "PixelUnshuffle": 'windows.space_to_depth(…, order="CRD")',
    "DepthToSpace": "windows.depth_to_space",
    "SpaceToDepth": "windows.space_to_depth",
    "window_reverse": "windows.window_merge",
    "window_unpartition": "windows.window_merge",
    "grid_reverse": "windows.grid_merge",
    "sliding_window_inference": "tiled",
    "SlidingWindowInferer": "tiled",
    **{f"atrous_conv{k}d": f"nn.functional.atrous_conv{k}d" for k in (1, 2, 3)},
    "backend": "use_backend",
    "set_backend": "use_backend",
}


def absent(module: str, name: str, public: Sequence[str]) -> AttributeError:
    """The error for a name that the package, or one of its rooms, does not have; it says what may have been meant.

    >>> absent("spacebatch", "space_to_bach", ["space_to_batch"])
    AttributeError("module 'spacebatch' has no attribute 'space_to_bach'; did you mean spacebatch.space_to_batch?")
    >>> absent("spacebatch.windows", "window_reverse", [])
    AttributeError("module 'spacebatch.windows' has no attribute 'window_reverse'; did you mean spacebatch.windows.window_merge?")
    >>> absent("spacebatch", "plot", [])
    AttributeError("module 'spacebatch' has no attribute 'plot'")

    Args:
        module: its name. name: what was asked for. public: the names that there are.
    """
    room = module.partition(".")[2]
    own = {known: f"{room}.{known}" if room else known for known in public}
    others = {"batch_to_space": "batch_to_space", "space_to_batch": "space_to_batch"} | ELSEWHERE
    meant = None
    if not name.startswith("_"):
        meant = others.get(name) or _near(name, own) or _near(name, others)
    return AttributeError(
        f"module {module!r} has no attribute {name!r}" + (f"; did you mean spacebatch.{meant}?" if meant else "")
    )


def _near(name: str, places: Mapping[str, str]) -> str | None:
    spelt = {known.lower(): place for known, place in places.items()}
    near = get_close_matches(name.lower(), spelt, n=1, cutoff=0.75)
    return spelt[near[0]] if near else None
