"""The words of a fused call: what a caller asks to be computed on the way, and how it becomes an `Arithmetic`. NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from .arguments import as_integer, shown
from .arithmetic import ACTIVATIONS, FLOATS, RESULTS, SOURCES, Activation, Arithmetic, PadPlace


class FactorWords(TypedDict, total=False):
    """What every function that computes on the way takes beside its own arguments; see `spacebatch.fused`."""

    scale: Any
    bias: Any
    activation: Activation
    dtype: Any


class CutWords(FactorWords, total=False):
    """The words of functions that cut images."""

    channel_dim: int | None
    pad: PadPlace


class JoinWords(FactorWords, total=False):
    """The words of functions that put images together."""

    channel_dim: int | None
    residual: Any


class RestoreWords(FactorWords, total=False):
    """The words of functions that put images of several sizes together."""

    channel_dim: int | None


class PatchWords(FactorWords, total=False):
    """The words of `patchify`: mean and std of the channels as processors of images have them."""

    mean: Any
    std: Any


class Words(NamedTuple):
    """All words of a call, as they were given."""

    scale: Any = None
    bias: Any = None
    residual: Any = None
    channel_dim: int | None = None
    activation: Activation = "none"
    dtype: Any = None
    pad: PadPlace = "after"


def words_of(op: str, given: Mapping[str, Any], kind: type) -> Words:
    """The words of a call by their names.

    >>> words_of("f", {"scale": 2, "pad": "before"}, CutWords)[:2]
    (2, None)
    >>> words_of("f", {"scales": 2}, CutWords)
    Traceback (most recent call last):
    TypeError: f: there is no argument 'scales'; there are scale, bias, activation, dtype, channel_dim, pad

    Args:
        op: the function. given: its words. kind: which words it takes.
    """
    for name in given:
        if name not in kind.__annotations__:
            raise TypeError(f"{op}: there is no argument {name!r}; there are {', '.join(kind.__annotations__)}")
    return Words(**given)


def result_name(source: str) -> str:
    """The dtype of a result that nothing was said of: the input's where that is a floating one, else float32.

    >>> result_name("bfloat16"), result_name("uint8")
    ('bfloat16', 'float32')
    """
    return source if source in FLOATS else "float32"


def arithmetic_of(
    op: str,
    words: Words,
    source: str,
    result: str,
    shape: Sequence[int],
    spatial_dims: Sequence[int],
    ndims: tuple[int | None, int | None],
    residual: str | None = None,
    first: int = 1,
) -> Arithmetic:
    """The words of a call, checked, but for the values of scale, bias and residual.

    >>> arithmetic_of("f", Words(1.0, None), "uint8", "float32", (1, 3, 4), (2,), (0, None))
    Arithmetic(source='uint8', result='float32', channel_dim=None, scale=True, bias=False, residual=None, activation='none', pad='after', gradient=False)

    Args:
        op: the function, for messages.
        words: of the call. source, result, residual: names of dtypes.
        shape: of the input. spatial_dims: those of its dims that are cut.
        ndims: of scale and bias: 0 for a number, 1 where there is one for each channel, None where there is none.
        first: the first dim that may be one of channels; 0 of images without a batch.

    Raises:
        ValueError, TypeError: a word that does not fit.
    """
    if source not in SOURCES:
        raise TypeError(f"{op}: the input has dtype {source}; arithmetic is for {', '.join(SOURCES)}")
    if result not in RESULTS:
        raise TypeError(f"{op}: dtype is {result}; it must be one of {', '.join(RESULTS)}")
    if residual is not None and residual not in FLOATS:
        raise TypeError(f"{op}: residual has dtype {residual}; it must be one of {', '.join(FLOATS)}")
    if words.activation not in ACTIVATIONS:
        raise ValueError(f"{op}: activation must be one of {', '.join(ACTIVATIONS)}, got {shown(words.activation)}")
    if words.pad not in ("before", "after"):
        raise ValueError(f'{op}: pad must be "before" or "after", got {shown(words.pad)}')
    named = channel_dim(op, words.channel_dim, shape, spatial_dims, first)
    for name, ndim in zip(("scale", "bias"), ndims, strict=True):
        if ndim is not None and ndim > 1:
            raise ValueError(f"{op}: {name} is {ndim}-D; it must be a number, or 1-D with one entry for each channel")
    channels = 1 in ndims
    if channels and named is None:
        raise ValueError(
            f"{op}: channel_dim is needed: an input of shape {tuple(shape)} cut along dims {tuple(spatial_dims)} does not tell "
            f"which dim {'scale' if ndims[0] == 1 else 'bias'} runs along"
        )
    return Arithmetic(
        source,
        result,
        named if channels else None,
        ndims[0] is not None,
        ndims[1] is not None,
        residual,
        words.activation,
        words.pad,
    )


def channel_dim(op: str, given: Any, shape: Sequence[int], spatial_dims: Sequence[int], first: int = 1) -> int | None:
    """The dim of the channels, counted from 0: as given, or the only one that is neither the batch nor cut; else None.

    >>> channel_dim("f", -1, (1, 4, 4, 3), (1, 2)), channel_dim("f", None, (1, 4, 4, 3), (1, 2))
    (3, 3)
    """
    ndim = len(shape)
    if given is None:
        others = [d for d in range(first, ndim) if d not in spatial_dims]
        return others[0] if len(others) == 1 else None
    number = as_integer(given, f"{op}: channel_dim")
    if not -ndim <= number < ndim:
        raise ValueError(f"{op}: channel_dim {number} is out of range for an input of {ndim} dims")
    number %= ndim
    if number < first or number in spatial_dims:
        kind = "the batch" if number < first else "cut"
        raise ValueError(
            f"{op}: channel_dim {shown(given)} is dim {number}, which is {kind}; channels stay where they are"
        )
    return number


def check_channels(op: str, name: str, size: int, channels: int, dim: int) -> None:
    """Scale or bias has one entry for each channel.

    >>> check_channels("f", "scale", 3, 4, 1)
    Traceback (most recent call last):
    ValueError: f: scale has 3 entries, but dim 1 has 4 channels
    """
    if size != channels:
        raise ValueError(f"{op}: {name} has {size} entries, but dim {dim} has {channels} channels")
