"""TensorFlow's spellings: the examples of its documentation, worked out by hand, and the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from spacebatch import tensorflow
from spacebatch.reference import definition
from tests.bits import same

NO_BORDER = [[0, 0], [0, 0]]
GRID = np.arange(1, 17).reshape(1, 4, 4, 1).tolist()
TWO_SAMPLES = np.arange(1, 17).reshape(2, 2, 4, 1).tolist()

# The examples of space_to_batch_nd and batch_to_space_nd: (block_shape, borders, space tensor, batch tensor).
DOCUMENTED = {
    "1: one channel": ([2, 2], NO_BORDER, [[[[1], [2]], [[3], [4]]]], [[[[1]]], [[[2]]], [[[3]]], [[[4]]]]),
    "2: three channels": (
        [2, 2],
        NO_BORDER,
        [[[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]],
        [[[[1, 2, 3]]], [[[4, 5, 6]]], [[[7, 8, 9]]], [[[10, 11, 12]]]],
    ),
    "3: four by four": (
        [2, 2],
        NO_BORDER,
        GRID,
        [
            [[[1], [3]], [[9], [11]]],
            [[[2], [4]], [[10], [12]]],
            [[[5], [7]], [[13], [15]]],
            [[[6], [8]], [[14], [16]]],
        ],
    ),
    "4: two samples and a border": (
        [2, 2],
        [[0, 0], [2, 0]],
        TWO_SAMPLES,
        [
            [[[0], [1], [3]]],
            [[[0], [9], [11]]],
            [[[0], [2], [4]]],
            [[[0], [10], [12]]],
            [[[0], [5], [7]]],
            [[[0], [13], [15]]],
            [[[0], [6], [8]]],
            [[[0], [14], [16]]],
        ],
    ),
}

# More, worked out by hand; each undoes the other.
WORKED = {
    "one spatial dim, nothing after it": ([3], [[1, 0]], [[1, 2, 3, 4, 5]], [[0, 3], [1, 4], [2, 5]]),
    "three spatial dims": (
        [2, 1, 2],
        [[0, 0], [0, 0], [0, 0]],
        [[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]],
        [[[[1], [3]]], [[[2], [4]]], [[[5], [7]]], [[[6], [8]]]],
    ),
}
EXAMPLES = {**DOCUMENTED, **WORKED}


@pytest.mark.parametrize("name", EXAMPLES)
def test_nd(make: Any, name: str) -> None:
    block_shape, borders, space, batch = EXAMPLES[name]
    x, y = make(space), make(batch)
    assert same(tensorflow.space_to_batch_nd(x, block_shape, borders), y)
    assert same(tensorflow.batch_to_space_nd(y, block_shape, borders), x)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_legacy(make: Any, name: str) -> None:
    _, borders, space, batch = DOCUMENTED[name]
    x, y = make(space), make(batch)
    assert same(tensorflow.space_to_batch(x, borders, 2), y)
    assert same(tensorflow.batch_to_space(y, borders, 2), x)


def test_legacy_block_of_three(make: Any) -> None:
    x, y = make([[[[1], [2], [3]], [[4], [5], [6]], [[7], [8], [9]]]]), make([[[[n]]] for n in range(1, 10)])
    assert same(tensorflow.space_to_batch(x, NO_BORDER, 3), y)
    assert same(tensorflow.batch_to_space(y, NO_BORDER, 3), x)


@pytest.mark.parametrize("as_input", [np.asarray, torch.from_numpy])
def test_against_the_definition(as_input: Any) -> None:
    rng = np.random.default_rng(0)
    blocks, borders = (2, 3), ((0, 1), (2, 1))
    for name, shape in (("space_to_batch", (2, 5, 3, 4)), ("batch_to_space", (12, 2, 3, 4))):
        x = rng.standard_normal(shape).astype("complex64")
        expected = getattr(definition, name)(x, blocks, borders, spatial_dims=(1, 2))
        assert same(getattr(tensorflow, name + "_nd")(as_input(x), blocks, borders), as_input(expected))


@pytest.mark.parametrize(
    "write",
    [list, tuple, np.array, torch.tensor, lambda values: np.array(values, dtype=np.int32)],
    ids=["list", "tuple", "array", "tensor", "int32 array"],
)
def test_integers_in_any_container(make: Any, write: Any) -> None:
    block_shape, borders, space, batch = DOCUMENTED["4: two samples and a border"]
    x, y = make(space), make(batch)
    assert same(tensorflow.space_to_batch_nd(x, write(block_shape), write(borders)), y)
    assert same(tensorflow.batch_to_space_nd(y, write(block_shape), write(borders)), x)
    assert same(tensorflow.space_to_batch(x, write(block_shape), write(borders)), y)
    assert same(tensorflow.space_to_batch(x, write(borders), np.int64(2)), y)
    assert same(tensorflow.batch_to_space(y, write(borders), torch.tensor(2)), x)
    rows = [np.array([0, 0]), torch.tensor([2, 0])]  # may be arrays of their own
    assert same(tensorflow.space_to_batch_nd(x, write(block_shape), rows), y)
    assert tensorflow.required_space_to_batch_paddings(write([5, 7]), write([2, 4]), write([[1, 0], [0, 0]])) == (
        ((1, 0), (0, 1)),
        ((0, 0), (0, 1)),
    )


@pytest.mark.parametrize("name", ["3: four by four", "4: two samples and a border"])
def test_gradients(name: str) -> None:
    """Of each, the other with the same numbers: autograd gives the same bits."""
    block_shape, borders, space, batch = EXAMPLES[name]
    x = torch.tensor(space, dtype=torch.float64, requires_grad=True)
    y = torch.tensor(batch, dtype=torch.float64, requires_grad=True)
    there, back = tensorflow.space_to_batch_nd, tensorflow.batch_to_space_nd
    for source, operator, inverse in ((x, there, back), (y, back, there)):
        result = operator(source, block_shape, borders)
        grad = torch.randn(result.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        (got,) = torch.autograd.grad(result, source, grad)
        assert torch.equal(got, inverse(grad, block_shape, borders))


# (input_shape, block_shape, base_paddings) → (paddings, crops): the cases that TensorFlow states and tests, and more
REQUIRED = [
    (([1], [2], None), ([[0, 1]], [[0, 1]])),
    (([1], [2], [[2, 3]]), ([[2, 3]], [[0, 0]])),
    (([4, 5], [3, 2], [[0, 0], [0, 1]]), ([[0, 2], [0, 1]], [[0, 2], [0, 0]])),
    (([5, 7], [2, 4], [[1, 0], [0, 0]]), ([[1, 0], [0, 1]], [[0, 0], [0, 1]])),
    (([11], [4], [[3, 5]]), ([[3, 6]], [[0, 1]])),
    (([0], [3], None), ([[0, 0]], [[0, 0]])),
]


@pytest.mark.parametrize(("arguments", "expected"), REQUIRED, ids=str)
def test_required_paddings(arguments: Any, expected: Any) -> None:
    paddings, crops = tensorflow.required_space_to_batch_paddings(*arguments)
    assert ([list(pair) for pair in paddings], [list(pair) for pair in crops]) == expected

    # The functions take them, and the crops leave the base paddings in place.
    sizes, blocks, base = arguments
    x = np.arange(2 * int(np.prod(sizes))).reshape(2, *sizes)
    y = tensorflow.space_to_batch_nd(x, blocks, paddings)
    assert same(tensorflow.batch_to_space_nd(y, blocks, paddings), x)
    base = NO_BORDER[: len(sizes)] if base is None else base
    assert same(tensorflow.batch_to_space_nd(y, blocks, crops), np.pad(x, [(0, 0), *base]))


# (block_shape, borders, error, message after the operation); {name} is paddings or crops
BAD_ND = [
    (2, NO_BORDER, TypeError, r"block_shape must be a sequence, list, tuple, array or tensor, got 2 of type int"),
    ("22", NO_BORDER, TypeError, r"block_shape must be a sequence, .*, got '22' of type str"),
    ({2: 2}, NO_BORDER, TypeError, r"block_shape must be a sequence, .*, got \{2: 2\} of type dict"),
    (np.array([[2, 2]]), NO_BORDER, TypeError, r"block_shape\[0\] must be an integer, got \[2, 2\] of type list"),
    ([], NO_BORDER, ValueError, r"{name} must hold one pair for each of the 0 blocks, got 2 entries"),
    ([2, 0], NO_BORDER, ValueError, r"block_shape\[1\] must be at least 1, got 0"),
    ([2, 2.0], NO_BORDER, TypeError, r"block_shape\[1\] must be an integer, got 2\.0 of type float"),
    ([2, True], NO_BORDER, TypeError, r"block_shape\[1\] must be an integer, got the bool True"),
    ([1] * 4, [[0, 0]] * 4, ValueError, r"block_shape is for 4 spatial dims, but a 4-D input has only 3 dims"),
    ([2, 2], 0, TypeError, r"{name} must be a sequence, list, tuple, array or tensor, got 0 of type int"),
    ([2, 2], "auto", TypeError, r"{name} must be a sequence, .*, got 'auto' of type str"),
    ([2, 2], [1, 1], TypeError, r"{name}\[0\] must be a sequence, .*, got 1 of type int"),
    ([2, 2], [[0, 0]], ValueError, r"{name} must hold one pair for each of the 2 blocks, got 1 entries"),
    ([2, 2], [[0, 0], [1]], ValueError, r"{name}\[1\] must be a \(before, after\) pair, got \[1\]"),
    ([2, 2], np.zeros((2, 3), int), ValueError, r"{name}\[0\] must be a \(before, after\) pair, got \[0, 0, 0\]"),
    ([2, 2], [[0, -1], [0, 0]], ValueError, r"{name}\[0\]\[1\] must not be negative, got -1"),
    ([2, 2], [[0, 0], [1.0, 0]], TypeError, r"{name}\[1\]\[0\] must be an integer, got 1\.0 of type float"),
]


@pytest.mark.parametrize(("block_shape", "borders", "error", "message"), BAD_ND, ids=lambda value: str(value)[:40])
def test_bad_arguments(make: Any, block_shape: Any, borders: Any, error: type[Exception], message: str) -> None:
    x = make(np.zeros((2, 4, 6, 3)))
    for op, name in (("space_to_batch_nd", "paddings"), ("batch_to_space_nd", "crops")):
        with pytest.raises(error, match=rf"^{op}: " + message.replace("{name}", name)):
            getattr(tensorflow, op)(x, block_shape, borders)


FORMS = {  # the calls that mean the same, of space_to_batch with paddings and of batch_to_space with crops
    "2": lambda f, name, x, pairs: f(x, [2, 2], pairs),
    "2 and a name": lambda f, name, x, pairs: f(x, [2, 2], pairs, "cells"),
    "2, an int": lambda f, name, x, pairs: f(x, 2, pairs),
    "2, a 0-d array": lambda f, name, x, pairs: f(x, np.array(2), pairs),
    "2, keywords": lambda f, name, x, pairs: f(input=x, name=None, block_shape=[2, 2], **{name: pairs}),
    "2, the borders by keyword": lambda f, name, x, pairs: f(x, [2, 2], **{name: pairs}),
    "1": lambda f, name, x, pairs: f(x, pairs, 2),
    "1 and a name": lambda f, name, x, pairs: f(x, pairs, 2, "cells"),
    "1, keywords": lambda f, name, x, pairs: f(input=x, block_size=2, name="cells", **{name: pairs}),
    "1, the block by keyword": lambda f, name, x, pairs: f(x, pairs, block_size=2),
    "1, block_shape by keyword": lambda f, name, x, pairs: f(x, pairs, block_shape=2),
    "1, block_shape as a vector": lambda f, name, x, pairs: f(x, pairs, block_shape=[2, 2]),
    "1, block_shape in the last place": lambda f, name, x, pairs: f(x, pairs, None, None, 2),
}


@pytest.mark.parametrize("form", FORMS)
def test_both_versions_orders(make: Any, form: str) -> None:
    _, borders, space, batch = DOCUMENTED["4: two samples and a border"]
    x, y = make(space), make(batch)
    assert same(FORMS[form](tensorflow.space_to_batch, "paddings", x, borders), y)
    assert same(FORMS[form](tensorflow.batch_to_space, "crops", y, borders), x)


NEITHER = r"takes \(input, block_shape, {name}\) or \(input, {name}, block_size\), where {name} is a matrix .*; got "
BAD_FORMS: list[tuple[Any, Any, str]] = [
    (([2, 2], NO_BORDER, 1), {}, r"name must be a string or None, got 1 of type int"),
    (([2, 2], 2), {}, NEITHER + r"\[2, 2\] and 2"),
    ((2, 2), {}, NEITHER + "2 and 2"),
    (([2, 2], "auto"), {}, NEITHER + r"\[2, 2\] and 'auto'"),
    ((NO_BORDER, [2, 2]), {}, NEITHER + r"\[\[0, 0\], \[0, 0\]\] and \[2, 2\]"),
    ((NO_BORDER, torch.zeros(99, 99)), {}, NEITHER + r"\[\[0, 0\], \[0, 0\]\] and .{,250}$"),
    (([2, 2], NO_BORDER, "cells", 2), {}, r"takes at most \(input, block_shape, {name}, name\), got 5 arguments"),
    ((NO_BORDER, 2, "cells", None, 2), {}, r"takes at most \(input, {name}, block_size, name, block_shape\), got 6"),
    ((NO_BORDER,), {}, r"give block_shape or block_size"),
    ((), {}, r"give block_shape or block_size"),
    ((NO_BORDER, 2), {"block_shape": [2, 2]}, r"give block_shape or block_size, not both"),
    ((), {"block_size": 2, "block_shape": 2}, r"give block_shape or block_size, not both"),
    (([2, 2], NO_BORDER), {"block_shape": [2, 2]}, r"block_shape is given by position and by keyword"),
    ((NO_BORDER, 2), {"block_size": 2}, r"block_size is given by position and by keyword"),
    (([2, 2],), {}, r"{name} is missing"),
    ((), {"block_size": 2}, r"{name} is missing"),
    (([2, 2], NO_BORDER, "a"), {"name": "b"}, r"name is given by position and by keyword"),
    ((NO_BORDER, 2.0), {}, r"block_size must be an integer, got 2\.0 of type float"),
]
BAD_VALUES = [
    ((NO_BORDER, 1), (4, 4, 4, 4), r"block_size must be at least 2, got 1"),
    (([[0, 0], [0, -2]], 2), (4, 4, 4, 4), r"{name}\[1\]\[1\] must not be negative, got -2"),
    ((NO_BORDER, 2), (4, 4, 4, 4, 4), r"the input must be 4-D, \(batch, height, width, depth\), got 5-D"),
]


@pytest.mark.parametrize(("arguments", "keywords", "message"), BAD_FORMS, ids=lambda value: str(value)[:40])
def test_neither_versions_order(arguments: Any, keywords: Any, message: str) -> None:
    refuses(TypeError, np.zeros((4, 4, 4, 4)), arguments, keywords, message)


@pytest.mark.parametrize(("arguments", "shape", "message"), BAD_VALUES, ids=lambda value: str(value)[:40])
def test_bad_values(make: Any, arguments: Any, shape: tuple[int, ...], message: str) -> None:
    refuses(ValueError, make(np.zeros(shape)), arguments, {}, message)


def refuses(error: type[Exception], x: Any, arguments: Any, keywords: Any, message: str) -> None:
    for op, name in (("space_to_batch", "paddings"), ("batch_to_space", "crops")):
        with pytest.raises(error, match=f"^{op}: " + message.replace("{name}", name)):
            getattr(tensorflow, op)(x, *arguments, **keywords)


def test_no_blocks_are_a_copy(make: Any) -> None:
    for nested in ([1, 2, 3], [[1, 2], [3, 4]], GRID):
        x = make(nested)
        for call in (tensorflow.space_to_batch_nd, tensorflow.batch_to_space_nd, tensorflow.space_to_batch):
            for empty in ([], np.zeros((0, 2), int)):
                copied = call(x, [], empty)
                assert same(copied, x)
                copied[...] = 0
                assert x.tolist() == nested
    x = torch.ones(3, requires_grad=True)
    (tensorflow.space_to_batch_nd(x, [], []) * torch.arange(3)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 2]
    assert tensorflow.required_space_to_batch_paddings([], []) == ((), ())
    with pytest.raises(ValueError, match=r"^space_to_batch_nd: block_shape is for 0 spatial dims, but a 0-D input"):
        tensorflow.space_to_batch_nd(make(1), [], [])


def test_nested_lists_become_an_array() -> None:
    _, borders, space, batch = DOCUMENTED["4: two samples and a border"]
    for f, there, back in (
        (tensorflow.space_to_batch_nd, space, batch),
        (tensorflow.batch_to_space_nd, batch, space),
        (tensorflow.space_to_batch, tuple(space), batch),
        (tensorflow.batch_to_space, batch, space),
    ):
        assert same(f(there, [2, 2], borders), np.array(back))
    with pytest.raises(
        ValueError, match=r"^space_to_batch_nd: the input's nested lists make no array: .*inhomogeneous"
    ):
        tensorflow.space_to_batch_nd([[1, 2], [3]], [1], [[0, 0]])
    with pytest.raises(
        TypeError, match=r"^batch_to_space_nd: the input's nested lists must hold numbers, got \[\[None"
    ):
        tensorflow.batch_to_space_nd([[None, 2]], [1], [[0, 0]])


def test_the_pad_value(make: Any) -> None:
    x = make([[1, 2, 3]])
    for function in (tensorflow.space_to_batch_nd, tensorflow.space_to_batch):
        assert same(function(x, [2], [[1, 0]], pad_value=7), make([[7, 2], [1, 3]]))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_whole(dynamic: bool) -> None:
    torch.compiler.reset()
    x = torch.arange(32.0).view(2, 4, 4, 1)

    def there_and_back(x: torch.Tensor) -> torch.Tensor:
        y = tensorflow.space_to_batch(x, [2, 2], [[0, 0], [2, 0]])
        return tensorflow.batch_to_space(y, [[0, 0], [2, 0]], 2) + tensorflow.space_to_batch_nd(x, [], [])

    compiled = torch.compile(there_and_back, fullgraph=True, dynamic=dynamic, backend="eager")
    assert torch.equal(compiled(x), 2 * x)
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([4.0], [2]), TypeError, r"input_shape\[0\] must be an integer, got 4\.0 of type float"),
        (([4, -1], [2, 2]), ValueError, r"input_shape\[1\] must not be negative, got -1"),
        (([4], [0]), ValueError, r"block_shape\[0\] must be at least 1, got 0"),
        (
            ([2**62], [2], [[2**62, 0]]),
            ValueError,
            r"input_shape\[0\]=\d+ padded to a multiple of 2 exceeds 2\*\*63 - 1",
        ),
        (([4], [2], None, 3), TypeError, r"name must be a string or None, got 3 of type int"),
        (([4, 4], [2]), ValueError, r"input_shape has 2 entries and block_shape 1"),
        (([4], [2], [1]), TypeError, r"base_paddings\[0\] must be a sequence, .*, got 1 of type int"),
        (([4], [2], [[0, 0]] * 2), ValueError, r"base_paddings must hold one pair for each of the 1 blocks, got 2"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_required_paddings(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=r"^required_space_to_batch_paddings: " + message):
        tensorflow.required_space_to_batch_paddings(*arguments)
