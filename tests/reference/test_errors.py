"""Bad arguments: which exception, what it says, the same for arrays, tensors and meta tensors, and `out` untouched."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import spacebatch
from spacebatch import BlockGeometry, reference, required_paddings
from tests.bits import poisoned, same

S2B, B2S = "space_to_batch", "batch_to_space"
FLOAT, INT, BOOL = "float32", "int32", "bool"


class Bad(NamedTuple):
    """A call that must fail; `message` follows the operation's name."""

    id: str
    op: str
    shape: tuple[int, ...]
    arguments: dict[str, Any]
    error: type[Exception]
    message: str
    dtype: str = INT


def space(
    id: str, error: type[Exception], message: str, *, shape: Any = (1, 3, 4, 4), dtype: str = INT, **given: Any
) -> Bad:
    return Bad(id, S2B, shape, {"block_shape": 2, **given}, error, message, dtype)


def batch(
    id: str, error: type[Exception], message: str, *, shape: Any = (4, 3, 2, 2), dtype: str = INT, **given: Any
) -> Bad:
    return Bad(id, B2S, shape, {"block_shape": 2, **given}, error, message, dtype)


NAN = float("nan")
TABLE = (
    # block_shape
    space("block-zero", ValueError, r"block_shape\[0\] must be at least 1, got 0", block_shape=0),
    space("block-negative", ValueError, r"block_shape\[1\] must be at least 1, got -2", block_shape=(2, -2)),
    space("block-bool", TypeError, r"block_shape\[0\] must be an integer, got the bool True", block_shape=True),
    space("block-bool-in-a-tuple", TypeError, r"block_shape\[0\] .* the bool True", block_shape=(True, 2)),
    space("block-numpy-bool", TypeError, r"block_shape\[1\] .* the bool np.True_", block_shape=(2, np.True_)),
    space("block-tensor-bool", TypeError, r"block_shape\[0\] .* the bool", block_shape=torch.tensor(True)),
    space("block-array-of-bools", TypeError, r"block_shape\[0\] .* the bool", block_shape=np.array([True, True])),
    space("block-float", TypeError, r"block_shape\[0\] must be an integer, got 2.0 of type float", block_shape=2.0),
    space("block-float-in-a-list", TypeError, r"block_shape\[1\] .* got 2.0 of type float", block_shape=[2, 2.0]),
    space("block-numpy-float", TypeError, r"block_shape\[0\] .* got 2.0", block_shape=np.array([2.0, 2.0])),
    space("block-tensor-float", TypeError, r"block_shape\[0\] .* got tensor\(2.\)", block_shape=torch.tensor(2.0)),
    space("block-complex", TypeError, r"block_shape\[0\] .* got 2j of type complex", block_shape=2j),
    space("block-none", TypeError, r"block_shape .* got None of type NoneType", block_shape=None),
    space("block-string", TypeError, r"block_shape .* got '22'", block_shape="22"),
    space("block-bytes", TypeError, r"block_shape .* got b'\\x02\\x02'", block_shape=b"\x02\x02"),
    space("block-set", TypeError, r"block_shape .* got \{2\}", block_shape={2}),
    space("block-dict", TypeError, r"block_shape .* got \{2: 2\}", block_shape={2: 2}),
    space("block-string-in-a-tuple", TypeError, r"block_shape\[1\] .* got '2' of type str", block_shape=(2, "2")),
    space("block-nested", TypeError, r"block_shape\[0\] .* got \(2, 2\) of type tuple", block_shape=((2, 2),)),
    space("block-empty", ValueError, r"block_shape is empty", block_shape=()),
    space("block-too-long", ValueError, r"block_shape has 4 entries, but a 4-D input", block_shape=(1, 1, 1, 1)),
    space("block-int-for-no-dims", ValueError, r"block_shape=2 blocks the dims from 2 on.* 2-D", shape=(4, 4)),
    space(
        "block-and-dims-differ", ValueError, r"block_shape has 1 entries for 2", block_shape=(2,), spatial_dims=(2, 3)
    ),
    space("block-does-not-divide", ValueError, r"dim 3 of size 4 .* divisible by its block size 3", block_shape=(2, 3)),
    space("padded-not-divisible", ValueError, r"dim 2 of size 4 padded by \(1, 0\) is 5", paddings=((1, 0), (0, 0))),
    batch("back-block-zero", ValueError, r"block_shape\[1\] must be at least 1, got 0", block_shape=(2, 0)),
    batch("back-block-bool", TypeError, r"block_shape\[0\] must be an integer, got the bool False", block_shape=False),
    batch("back-block-float", TypeError, r"block_shape\[0\] must be an integer, got 2.0", block_shape=(2.0, 2)),
    # the batch
    batch(
        "batch-not-divisible", ValueError, r"the batch size 6 is not divisible by the 4 positions", shape=(6, 1, 2, 2)
    ),
    batch("batch-smaller-than-a-block", ValueError, r"the batch size 3 is not divisible by the 4", shape=(3, 1, 2, 2)),
    # borders
    space("padding-negative", ValueError, r"paddings must not be negative, got -1", paddings=-1),
    space("padding-negative-entry", ValueError, r"paddings\[1\] must not be negative, got -2", paddings=(0, -2)),
    space("padding-negative-side", ValueError, r"paddings\[0\]\[1\] must not be .* got -1", paddings=((2, -1), (0, 0))),
    space("padding-bool", TypeError, r"paddings must be an integer, got the bool True", paddings=True),
    space("padding-bool-side", TypeError, r"paddings\[1\]\[0\] .* the bool False", paddings=((0, 0), (False, 0))),
    space("padding-float", TypeError, r"paddings must be an integer, got 1.0 of type float", paddings=1.0),
    space("padding-float-entry", TypeError, r"paddings\[0\] must be an integer, got 0.0", paddings=(0.0, 2)),
    space("padding-none", TypeError, r"paddings must be .* got None of type NoneType", paddings=None),
    space("padding-word", ValueError, r"paddings must be integers or \"auto\", got 'same'", paddings="same"),
    space("padding-too-few", ValueError, r"paddings has 1 entries for 2 blocked dims \(2, 3\)", paddings=(2,)),
    space("padding-too-many", ValueError, r"paddings has 3 entries for 2 blocked dims", paddings=(0, 0, 0)),
    space("padding-empty", ValueError, r"paddings has 0 entries for 2 blocked dims", paddings=()),
    space("padding-mixed", ValueError, r"paddings mixes ints and pairs", paddings=(1, (1, 1))),
    space(
        "padding-three-sides",
        ValueError,
        r"paddings\[1\] must be a \(before, after\) pair, got 3",
        paddings=((0, 0), (0, 0, 0)),
    ),
    space("padding-auto-per-dim", TypeError, r"paddings\[0\] .* got 'auto'", paddings=("auto", "auto")),
    batch("crop-negative", ValueError, r"crops must not be negative, got -1", crops=-1),
    batch("crop-bool", TypeError, r"crops\[0\] must be an integer, got the bool True", crops=(True, 0)),
    batch("crop-float", TypeError, r"crops\[1\]\[1\] must be an integer, got 1.5", crops=((0, 0), (0, 1.5))),
    batch("crop-auto", ValueError, r"crops must be integers, got 'auto'", crops="auto"),
    batch("crop-too-few", ValueError, r"crops has 1 entries for 2 blocked dims", crops=((0, 0),)),
    batch("crop-too-much", ValueError, r"crops \(3, 2\) exceed dim 3, which has 2 blocks of 2", crops=((0, 0), (3, 2))),
    batch(
        "crop-of-nothing", ValueError, r"crops \(1, 1\) exceed dim 2, which has 0 blocks", shape=(4, 3, 0, 2), crops=1
    ),
    # spatial_dims
    space("dim-zero", ValueError, r"spatial_dims\[1\] names dim 0, which is the batch", spatial_dims=(2, 0)),
    space("dim-zero-from-the-end", ValueError, r"spatial_dims\[0\] names dim 0", spatial_dims=-4),
    space("dim-out-of-range", ValueError, r"spatial_dims\[0\]=4 is out of range for a 4-D input", spatial_dims=(4, 2)),
    space("dim-below-range", ValueError, r"spatial_dims\[1\]=-5 is out of range", spatial_dims=(2, -5)),
    space("dim-twice", ValueError, r"spatial_dims names dim 3 twice", spatial_dims=(3, 3)),
    space("dim-twice-from-the-end", ValueError, r"spatial_dims names dim 3 twice", spatial_dims=(3, -1)),
    space("dim-bool", TypeError, r"spatial_dims\[0\] must be an integer, got the bool True", spatial_dims=(True, 2)),
    space("dim-float", TypeError, r"spatial_dims\[0\] must be an integer, got 2.0", spatial_dims=2.0),
    space("dim-string", ValueError, r"spatial_dims must be N and then capital letters, .* got 'hw'", spatial_dims="hw"),
    space("dim-layout", ValueError, r"spatial_dims 'NHC' is of 3 dims, but the input is 4-D", spatial_dims="NHC"),
    space("dim-of-no-layout", ValueError, r"spatial_dims 'NC' is of 2 dims", spatial_dims="NC"),
    space("dims-empty", ValueError, r"spatial_dims is empty", spatial_dims=()),
    batch("back-dim-zero", ValueError, r"spatial_dims\[0\] names dim 0", spatial_dims=0),
    batch("back-dim-twice", ValueError, r"spatial_dims names dim 2 twice", spatial_dims=(2, 2)),
    # the two choices
    space("order-unknown", ValueError, r"batch_order must be one of .* got 'major'", batch_order="major"),
    space("order-none", TypeError, r"batch_order must be one of .* got None", batch_order=None),
    space("arrangement-unknown", ValueError, r"arrangement must be one of .* got 'windows'", arrangement="windows"),
    space("arrangement-number", TypeError, r"arrangement must be one of .* got 1 of type int", arrangement=1),
    batch(
        "back-order-unknown", ValueError, r"batch_order must be one of .* got 'Block_Major'", batch_order="Block_Major"
    ),
    batch("back-arrangement-bool", TypeError, r"arrangement must be one of .* got True", arrangement=True),
    # shifts
    space("shifts-length", ValueError, r"shifts has 1 entries for 2 blocked dims \(2, 3\); give an int", shifts=(1,)),
    space("shifts-float", TypeError, r"shifts must be an integer, got 0\.5 of type float", shifts=0.5),
    space("shifts-bool", TypeError, r"shifts\[1\] must be an integer, got the bool False", shifts=(0, False)),
    space("shifts-pairs", TypeError, r"shifts\[0\] must be an integer, got \(1, 1\)", shifts=((1, 1), (0, 0))),
    batch("back-shifts-text", TypeError, r"shifts must be an integer or a sequence of integers, got '1'", shifts="1"),
    # the pad value
    space("pad-none", TypeError, r"pad_value must be a number, got None", pad_value=None),
    space("pad-string", TypeError, r"pad_value must be a number, got '0'", pad_value="0"),
    space("pad-list", TypeError, r"pad_value must be a number, got \[0\]", pad_value=[0]),
    space("pad-array", TypeError, r"pad_value must be a number, got array", pad_value=np.array([0])),
    space("pad-tensor", TypeError, r"pad_value must be a number, got tensor", pad_value=torch.tensor([0])),
    space("pad-fraction", ValueError, r"pad_value 0.5 is not an integer.*int32", pad_value=0.5),
    space("pad-nan-in-integers", ValueError, r"pad_value nan is not an integer.*int32", pad_value=NAN),
    space("pad-inf-in-integers", ValueError, r"pad_value inf is not an integer", pad_value=float("inf")),
    space("pad-too-large", ValueError, r"pad_value 2147483648 is out of range for .*int32", pad_value=2**31),
    space("pad-too-small", ValueError, r"pad_value -2147483649 is out of range", pad_value=-(2**31) - 1),
    space(
        "pad-negative-unsigned", ValueError, r"pad_value -1 is out of range for .*uint8", pad_value=-1, dtype="uint8"
    ),
    space("pad-over-uint64", ValueError, r"pad_value 18446744073709551616 is out", pad_value=2**64, dtype="uint64"),
    space("pad-two-in-bool", ValueError, r"pad_value 2 is out of range for .*bool", pad_value=2, dtype=BOOL),
    space("pad-half-in-bool", ValueError, r"pad_value 0.5 is not an integer", pad_value=0.5, dtype=BOOL),
    space("pad-complex-in-reals", TypeError, r"pad_value 1j is complex.*float32", pad_value=1j, dtype=FLOAT),
    space(
        "pad-over-float32", ValueError, r"pad_value 1e\+39 is out of range for .*float32", pad_value=1e39, dtype=FLOAT
    ),
    space("pad-over-float16", ValueError, r"pad_value 70000 is out of range", pad_value=70000, dtype="float16"),
    space("pad-over-every-float", ValueError, r"pad_value 10{400} is out of range", pad_value=10**400, dtype="float64"),
    space("pad-part-over-complex64", ValueError, r"pad_value 1e\+39j is out", pad_value=1e39j, dtype="complex64"),
    # the input
    space("rank-0", ValueError, r"the input must have a batch dimension and at least one more, got 0-D", shape=()),
    space("rank-1", ValueError, r"the input must have .* got 1-D", shape=(4,), block_shape=(2,)),
    batch("back-rank-1", ValueError, r"the input must have .* got 1-D", shape=(4,), block_shape=(2,)),
    # more elements than 64 bits count: the block or the border alone says so
    space("padding-over-int64", ValueError, r"the batch shape .* more than 2\*\*63 - 1", paddings=2**62),
    space("block-over-int64", ValueError, r"the batch shape .* more than 2", shape=(1, 1, 0, 0), block_shape=2**32),
    space(
        "block-over-int64-no-samples",
        ValueError,
        r"the batch shape .* more than 2",
        shape=(0, 1, 0, 0),
        block_shape=2**32,
    ),
    batch("space-over-int64", ValueError, r"the space shape .* more than 2", shape=(0, 1, 2, 2), block_shape=2**62),
)


def call(op: str, functions: Any, x: Any, arguments: dict[str, Any], out: Any = None) -> str:
    with pytest.raises((ValueError, TypeError)) as caught:
        getattr(functions, op)(x, **arguments, out=out)
    return f"{caught.type.__name__}: {caught.value}".replace("torch.", "")


@pytest.mark.parametrize("bad", TABLE, ids=[bad.id for bad in TABLE])
def test_bad_arguments(bad: Bad) -> None:
    x = np.zeros(bad.shape, dtype=bad.dtype)
    with pytest.raises(bad.error, match=rf"^{bad.op}: .*{bad.message}") as caught:
        getattr(spacebatch, bad.op)(x, **bad.arguments)
    assert type(caught.value) is bad.error
    said = f"{bad.error.__name__}: {caught.value}"

    out = poisoned(np.empty((4, 3, 2, 2), dtype=bad.dtype))
    assert call(bad.op, reference, x, bad.arguments, out) == said
    assert same(out, poisoned(out.copy()))
    tensor = torch.from_numpy(x)
    for given in (tensor, tensor.to("meta"), tensor.clone().requires_grad_() if bad.dtype == FLOAT else tensor):
        out = poisoned(torch.empty(4, 3, 2, 2, dtype=tensor.dtype))
        assert call(bad.op, spacebatch, given, bad.arguments) == said
        assert call(bad.op, spacebatch, given, bad.arguments, out) == said
        assert same(out, poisoned(out.clone()))
    for name in ("numpy", "torch", "llvm"):
        with spacebatch.use_backend(name):
            assert call(bad.op, spacebatch, tensor, bad.arguments) == said
    if "pad_value" not in bad.arguments:
        assert explained(bad, tensor) == said


def explained(bad: Bad, x: torch.Tensor) -> str:
    with pytest.raises((ValueError, TypeError)) as caught:
        spacebatch.explain(bad.op, x, **bad.arguments)
    return f"{caught.type.__name__}: {caught.value}"


@pytest.mark.parametrize("bad", TABLE, ids=[bad.id for bad in TABLE])
def test_traced_calls_refuse_them_too(bad: Bad) -> None:
    """Under a functorch transform the messages are the same."""
    x = torch.zeros(2, *bad.shape, dtype=getattr(torch, bad.dtype))
    with pytest.raises(bad.error, match=rf"^{bad.op}: .*{bad.message}"):
        torch.vmap(lambda sample: getattr(spacebatch, bad.op)(sample, **bad.arguments))(x)


def test_there_are_enough_rows() -> None:
    assert len(TABLE) >= 60
    assert len({bad.id for bad in TABLE}) == len(TABLE)


@pytest.mark.parametrize("wrong", [(True, 2), (1.0, 2), [True, 2], (np.True_, 2)], ids=repr)
def test_a_cached_call_hides_nothing(wrong: Any) -> None:
    """(True, 2) and (1.0, 2) equal (1, 2), which stands in the cache."""
    for x in (torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4)):
        spacebatch.space_to_batch(x, (1, 2), (0, 0), spatial_dims=(1, 2)) if len(x) > 2 else None
        spacebatch.space_to_batch(x, (1, 2), (1, 2))
        with pytest.raises(TypeError, match=r"^space_to_batch: block_shape\[0\] must be an integer"):
            spacebatch.space_to_batch(x, wrong, (1, 2))
        with pytest.raises(TypeError, match=r"^space_to_batch: paddings\[0\] must be an integer"):
            spacebatch.space_to_batch(x, (1, 2), wrong)
        y = spacebatch.space_to_batch(x, (1, 2))
        spacebatch.batch_to_space(y, (1, 2), (1, 2))
        with pytest.raises(TypeError, match=r"^batch_to_space: crops\[0\] must be an integer"):
            spacebatch.batch_to_space(y, (1, 2), wrong)
        spacebatch.space_to_batch(x, (1, 2), spatial_dims=(1, 2))
        with pytest.raises(TypeError, match=r"^space_to_batch: spatial_dims\[0\] must be an integer"):
            spacebatch.space_to_batch(x, (1, 2), spatial_dims=wrong)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2fnuz"])
def test_no_infinity_where_the_dtype_has_none(backend: str, dtype: str) -> None:
    x = torch.zeros(1, 2).to(getattr(torch, dtype))
    with pytest.raises(ValueError, match=rf"^space_to_batch: pad_value -?inf is out of range for torch.{dtype}"):
        spacebatch.space_to_batch(x, (2,), 1, pad_value=float("-inf"))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("M8[s]", 2**70), ("M8[s]", "yesterday"), ("U2", "three"), ("S2", b"three"), ("i4,f4", (1, 2, 3)), ("O", [1, 2])],
    ids=str,
)
def test_pad_values_that_an_array_cannot_hold(dtype: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^space_to_batch: pad_value .* dtype"):
        spacebatch.space_to_batch(np.zeros((1, 2), dtype=dtype), (2,), 1, pad_value=value)


@pytest.mark.parametrize("given", [5, None, "44"], ids=repr)
def test_a_shape_is_a_sequence(given: Any) -> None:
    with pytest.raises(TypeError, match=r"^space_to_batch: shape must be a sequence of integers, got"):
        BlockGeometry(given, 2)
    with pytest.raises(TypeError, match=r"^batch_to_space: shape must be a sequence of integers, got"):
        BlockGeometry.from_batch(given, 2)
    with pytest.raises(TypeError, match=r"^required_paddings: input_shape must be a sequence of integers, got"):
        required_paddings(given, (2,))
    if given != 5:
        with pytest.raises(TypeError, match=r"^required_paddings: block_shape must be an integer or a sequence"):
            required_paddings((4,), given)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((-1, 4), (2, 2)), ValueError, r"input_shape\[0\] must not be negative, got -1"),
        (((4, True), (2, 2)), TypeError, r"input_shape\[1\] must be an integer, got the bool True"),
        (((4, 4), (2,)), ValueError, r"input_shape has 2 entries and block_shape 1"),
        (((4,), (0,)), ValueError, r"block_shape\[0\] must be at least 1, got 0"),
        (((4,), (2,), ((0, -1),)), ValueError, r"base_paddings\[0\]\[1\] must not be negative"),
        (((4,), True), TypeError, r"block_shape\[0\] must be an integer, got the bool True"),
        (
            ((2**63,), (1,)),
            ValueError,
            r"size 9223372036854775808 padded to whole blocks of 1 is more than 2\*\*63 - 1",
        ),
        (((1,), (2**63,)), ValueError, r"size 1 padded .* is more than 2\*\*63 - 1 along dim 0"),
        (((4, 2**63 - 2), (2, 4)), ValueError, r"size 9223372036854775806 .* along dim 1"),
        (((4,), (2,), ((2**62, 2**62),)), ValueError, r"size 4 padded to whole blocks of 2 is more than 2\*\*63 - 1"),
        (((4,), (2,), "auto"), ValueError, r"base_paddings must be integers, got 'auto'"),
        (((4,), (2,), ((0, 0), (0, 0))), ValueError, r"base_paddings has 2 entries"),
    ],
)
def test_required_paddings(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^required_paddings: {message}"):
        required_paddings(*arguments)


def test_shapes_of_a_geometry() -> None:
    with pytest.raises(ValueError, match=r"^space_to_batch: shape\[1\] must not be negative, got -4"):
        BlockGeometry((1, -4), (2,))
    with pytest.raises(TypeError, match=r"^batch_to_space: shape\[0\] must be an integer, got 4.0"):
        BlockGeometry.from_batch((4.0, 4), (2,))
    with pytest.raises(ValueError, match=r"^mine: shape\[0\] must not be negative, got -1"):
        BlockGeometry((-1, 4), (2,), op="mine")


HUGE: dict[str, Any] = {
    "tensor": torch.zeros(1, 1, 2000, 2000),
    "tensor-of-integers": torch.ones(1 << 16, dtype=torch.int64),
    "matrix": torch.zeros(16, 16),
    "array": np.zeros((1, 1, 500, 500)),
    "list": [2.5] * 100_000,
    "integers": [2] * 100_000,
    "nested": [[[1] * 1000] * 1000],
    "string": "x" * 100_000,
    "integer": -(10**5000),
    "dict": dict.fromkeys(range(10_000), "x" * 1000),
}


@pytest.mark.parametrize("name", HUGE)
def test_messages_have_one_short_line(name: str) -> None:
    """Whatever is given where a shape or a few numbers are expected."""
    huge, x = HUGE[name], np.zeros((4, 1, 4, 4))
    order: Any = huge
    for call in (
        lambda: BlockGeometry(huge, 2),
        lambda: BlockGeometry.from_batch(huge, 2),
        lambda: required_paddings(huge, 2, huge),
        lambda: required_paddings((4, 4), huge),
        lambda: spacebatch.space_to_batch(x, huge),
        lambda: spacebatch.space_to_batch(x, 2, huge),
        lambda: spacebatch.batch_to_space(x, 2, huge),
        lambda: spacebatch.batch_to_space(x, 2, spatial_dims=huge),
        lambda: spacebatch.space_to_batch(x, 2, batch_order=order),
    ):
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        assert len(str(caught.value)) < 500
        assert "\n" not in str(caught.value)
