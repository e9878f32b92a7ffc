"""Caffe2's operators: literals worked out by hand, the NumPy definition, and autograd as the judge of the gradients."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from spacebatch import caffe2, caffe2_registry
from spacebatch.reference import definition
from tests.bits import same

# 4 x 4 in row-major order, and its four phases for blocks of 2 x 2
GRID = [[[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]]]
PHASES = [[[[0, 2], [8, 10]]], [[[1, 3], [9, 11]]], [[[4, 6], [12, 14]]], [[[5, 7], [13, 15]]]]

# name: (arguments, space tensor, batch tensor); each undoes the other
WORKED = {
    "defaults": ({}, GRID, PHASES),
    # Rows 0 0 0 0 0 0 0 0 / 0 0 1 2 0 0 0 0 / 0 0 3 4 0 0 0 0 / three rows of zeros
    "four different pads": (
        {"pad_t": 1, "pad_l": 2, "pad_b": 3, "pad_r": 4},
        [[[[1, 2], [3, 4]]]],
        [
            [[[0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0]]],
            [[[0, 0, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0]]],
            [[[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]],
            [[[0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]],
        ],
    ),
}


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of the registries, so that a test leaves nothing behind."""
    monkeypatch.setattr(caffe2_registry, "_operators", dict(caffe2_registry._operators))
    monkeypatch.setattr(caffe2_registry, "_gradients", dict(caffe2_registry._gradients))


# the three ways to the same operator
CALLS = {
    "function": lambda op, x, arguments: getattr(caffe2, FUNCTIONS[op])(x, **arguments),
    "operator": lambda op, x, arguments: getattr(caffe2, op + "Op")(**arguments).run_on_device(x),
    "definition": lambda op, x, arguments: caffe2.create_operator(op, ["X"], ["Y"], **arguments).run(x),
}
FUNCTIONS = {"SpaceToBatch": "space_to_batch", "BatchToSpace": "batch_to_space"}


@pytest.mark.parametrize("name", WORKED)
@pytest.mark.parametrize("call", CALLS)
def test_worked_by_hand(make: Any, name: str, call: str) -> None:
    arguments, space, batch = WORKED[name]
    x, y = make(space), make(batch)
    assert same(CALLS[call]("SpaceToBatch", x, arguments), y)
    assert same(CALLS[call]("BatchToSpace", y, arguments), x)


@pytest.mark.parametrize(
    ("arguments", "paddings"),
    [
        ({}, ((0, 0), (0, 0))),
        ({"pad": 1, "pad_t": 0}, ((0, 1), (1, 1))),  # a zero that is given is no reason to fall back
        ({"pad": 1, "pad_t": 5}, ((5, 1), (1, 1))),
        ({"pad": 1, "pad_l": 5}, ((1, 1), (5, 1))),
        ({"pad": 1, "pad_b": 5}, ((1, 5), (1, 1))),
        ({"pad": 1, "pad_r": 5}, ((1, 1), (1, 5))),
        ({"pad_t": 1, "pad_l": 2, "pad_b": 3, "pad_r": 4}, ((1, 3), (2, 4))),
    ],
    ids=str,
)
@pytest.mark.parametrize("cls", [caffe2.SpaceToBatchOp, caffe2.BatchToSpaceOp])
def test_each_pad_counts_for_its_own_side(cls: Any, arguments: Any, paddings: Any) -> None:
    assert cls(**arguments).paddings == paddings


@pytest.mark.parametrize("as_input", [np.asarray, torch.from_numpy])
def test_against_the_definition(as_input: Any) -> None:
    rng = np.random.default_rng(0)
    arguments = {"block_size": 3, "pad_t": 1, "pad_l": 2, "pad_b": 3, "pad_r": 0}
    for name, shape in (("space_to_batch", (2, 3, 5, 4)), ("batch_to_space", (18, 2, 3, 4))):
        x = rng.standard_normal(shape).astype("complex64")
        expected = getattr(definition, name)(x, (3, 3), ((1, 3), (2, 0)))
        assert same(getattr(caffe2, name)(as_input(x), **arguments), as_input(expected))


def test_positional_arguments_stand_in_caffe2_order() -> None:
    x = np.arange(35.0).reshape(1, 1, 5, 7)
    named = {"block_size": 3, "pad": 9, "pad_t": 0, "pad_l": 1, "pad_b": 4, "pad_r": 7, "order": "NCHW"}
    positional = caffe2.space_to_batch(x, *named.values())
    assert np.array_equal(positional, caffe2.space_to_batch(x, **named))
    assert positional.shape == (9, 1, 3, 5)
    y = np.arange(81.0).reshape(9, 1, 3, 3)
    cropped = caffe2.batch_to_space(y, 3, 9, 0, 1, 4, 7, "NCHW")
    assert np.array_equal(cropped, caffe2.batch_to_space(y, 3, pad_l=1, pad_b=4, pad_r=7))
    assert cropped.shape == (1, 1, 5, 1)


def test_the_result_is_a_copy(make: Any) -> None:
    x = make(GRID)
    for result in (caffe2.space_to_batch(x, block_size=1), caffe2.batch_to_space(x, block_size=1)):
        assert same(result, x)
        result[...] = -1
    assert x.tolist() == GRID


GRADIENT_CASES = {
    "four different pads": ({"block_size": 3, "pad_t": 1, "pad_l": 2, "pad_b": 4, "pad_r": 6}, (2, 1, 4, 7)),
    "a block of padding alone": ({"pad": 2}, (1, 1, 2, 2)),
}


@pytest.mark.parametrize("op", FUNCTIONS)
@pytest.mark.parametrize("name", GRADIENT_CASES)
def test_gradients(name: str, op: str) -> None:
    """The gradient's definition, run, and autograd through the operator: the same bits."""
    arguments, shape = GRADIENT_CASES[name]
    if op == "BatchToSpace":
        shape = caffe2.space_to_batch(torch.zeros(shape), **arguments).shape
    operator = caffe2.create_operator(op, ["X"], ["Y"], **arguments)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = operator.run(x)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    (expected,) = torch.autograd.grad(y, x, grad)
    (gradient,) = caffe2.get_gradient_defs(operator)
    assert torch.equal(gradient.run(grad), expected)
    assert gradient.run(grad.numpy()).tobytes() == expected.numpy().tobytes()


class TestGradientMakers:
    @pytest.mark.parametrize("op", FUNCTIONS)
    def test_definition(self, op: str) -> None:
        arguments = {"block_size": 3, "pad": 1, "pad_t": 0, "pad_l": 2, "pad_b": 4, "pad_r": 6, "order": "NCHW"}
        (other,) = {*FUNCTIONS} - {op}
        operator = caffe2.create_operator(op, ["X"], ["Y"], **arguments)
        expected = caffe2.OperatorDef(other, ["Y_grad"], ["X_grad"], arguments)
        assert getattr(caffe2, f"Get{op}Gradient")(operator).get_gradient_defs() == [expected]
        assert caffe2.get_gradient_defs(operator) == [expected]
        assert dict(expected.arguments) == arguments

    def test_only_of_definitions(self) -> None:
        with pytest.raises(TypeError, match=r"GetSpaceToBatchGradient: definition must be an OperatorDef, got 'X'"):
            caffe2.GetSpaceToBatchGradient("X")
        with pytest.raises(TypeError, match=r"get_gradient_defs: definition must be an OperatorDef, got None"):
            caffe2.get_gradient_defs(None)


class TestDefinition:
    def test_frozen_and_hashable(self) -> None:
        a = caffe2.create_operator("SpaceToBatch", "X", "Y", pad=1, block_size=2)
        b = caffe2.OperatorDef("SpaceToBatch", ("X",), ["Y"], (("block_size", np.int64(2)), ("pad", torch.tensor(1))))
        assert a == b
        assert hash(a) == hash(b)
        assert a.arguments == (("block_size", 2), ("pad", 1))
        assert a == caffe2.create_operator("SpaceToBatch", "X", "Y", pad=1, block_size=2, pad_t=None)
        assert (a.type, a.inputs, a.outputs) == ("SpaceToBatch", ("X",), ("Y",))
        with pytest.raises(AttributeError, match="cannot assign to field 'type'"):
            a.type = "BatchToSpace"

    def test_differs_in_each_field(self) -> None:
        made = [("SpaceToBatch", "X", "Y", 1), ("BatchToSpace", "X", "Y", 1), ("SpaceToBatch", "A", "Y", 1)]
        made += [("SpaceToBatch", "X", "B", 1), ("SpaceToBatch", "X", "Y", 2)]
        assert len({caffe2.create_operator(*names, pad=pad) for *names, pad in made}) == 5

    def test_repr_and_pickle_make_it_again(self) -> None:
        operator = caffe2.create_operator("SpaceToBatch", "X", "Y", pad=1, order="NCHW")
        assert eval(repr(operator), {"OperatorDef": caffe2.OperatorDef}) == operator
        copy = pickle.loads(pickle.dumps(operator))
        x = np.array([[[[1, 2], [3, 4]]]])
        assert copy == operator
        assert copy.run(x).tolist() == operator.run(x).tolist()

    def test_operators_are_frozen_and_hashable_too(self) -> None:
        assert hash(caffe2.SpaceToBatchOp(pad=torch.tensor(1))) == hash(caffe2.SpaceToBatchOp(pad=1))
        assert caffe2.SpaceToBatchOp(pad=1) == caffe2.SpaceToBatchOp(pad=1)
        assert caffe2.SpaceToBatchOp(pad=1) != caffe2.SpaceToBatchOp(pad=2)
        assert caffe2.SpaceToBatchOp(pad=1) != caffe2.BatchToSpaceOp(pad=1)
        with pytest.raises(AttributeError, match="cannot assign to field 'pad'"):
            caffe2.SpaceToBatchOp().pad = 3

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ((3, "X", "Y"), TypeError, r"OperatorDef: type must be a string, got 3"),
            (("Other", "X", "Y"), ValueError, r"OperatorDef: type 'Other' is not .*; known are 'BatchToSpace', 'Spac"),
            (("SpaceToBatch", 1, "Y"), TypeError, r"SpaceToBatch: inputs must be a string or .*, got 1"),
            (("SpaceToBatch", "X", [1]), TypeError, r"SpaceToBatch: outputs must be a string or .*, got \[1\]"),
            (("SpaceToBatch", ["X", "Z"], "Y"), ValueError, r"SpaceToBatch: inputs must name one blob, got \['X', "),
            (("SpaceToBatch", "X", []), ValueError, r"SpaceToBatch: outputs must name one blob, got \[\]"),
            (("SpaceToBatch", "X", "Y", 3), TypeError, r"SpaceToBatch: arguments must map names to values, got 3"),
            (("SpaceToBatch", "X", "Y", {1: 2}), TypeError, r"SpaceToBatch: arguments must map names .*, got \{1: 2\}"),
            (("SpaceToBatch", ["X"] * 999, "Y"), ValueError, r"SpaceToBatch: inputs must name one blob, got .{,300}$"),
        ],
    )
    def test_bad_definitions(self, arguments: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            caffe2.OperatorDef(*arguments)

    def test_unknown_arguments(self) -> None:
        known = r"known are 'block_size', 'order', 'pad', 'pad_b', 'pad_l', 'pad_r', 'pad_t'$"
        with pytest.raises(TypeError, match=r"^BatchToSpace: unknown arguments 'blocksize', 'padding'; " + known):
            caffe2.create_operator("BatchToSpace", "X", "Y", padding=1, pad=2, blocksize=3)


@pytest.mark.usefixtures("registries")
class TestRegistries:
    def test_an_operator_of_ones_own(self) -> None:
        class NegateOp:
            def __init__(self, *, scale: int = 1) -> None:
                self.scale = scale

            def run_on_device(self, input: Any) -> Any:
                return -self.scale * input

        assert caffe2.register_cpu_operator("Negate", NegateOp) is NegateOp
        assert caffe2.create_operator("Negate", "X", "Y", scale=3).run(np.array([1, 2])).tolist() == [-3, -6]
        with pytest.raises(TypeError, match=r"Negate: unknown arguments 'pad'; known are 'scale'"):
            caffe2.create_operator("Negate", "X", "Y", pad=3)
        caffe2.register_cpu_operator(
            "Any", type("AnyOp", (NegateOp,), {"__init__": lambda self, **given: vars(self).update(given)})
        )
        assert caffe2.create_operator("Any", "X", "Y", scale=3, what=1).run(2) == -6

    def test_decorators_return_the_class(self) -> None:
        @caffe2.register_cpu_operator("Mine")
        class MyOp(caffe2.SpaceToBatchOp):
            type = "Mine"

        @caffe2.register_gradient("Mine")
        class GetMyGradient(caffe2.GetSpaceToBatchGradient):
            pass

        definition = caffe2.create_operator("Mine", "X", "Y", pad=1)
        assert isinstance(definition.operator, MyOp)
        assert GetMyGradient(definition).get_gradient_defs() == caffe2.get_gradient_defs(definition)
        expected = caffe2.OperatorDef("BatchToSpace", "Y_grad", "X_grad", {"pad": 1})
        assert caffe2.get_gradient_defs(definition) == [expected]

    @pytest.mark.parametrize(
        ("register", "cls"),
        [
            (caffe2.register_cpu_operator, caffe2.SpaceToBatchOp),
            (caffe2.register_gradient, caffe2.GetSpaceToBatchGradient),
        ],
    )
    def test_no_name_twice(self, register: Any, cls: Any) -> None:
        message = rf"{register.__name__}: 'SpaceToBatch' is already registered, as <class '.*{cls.__name__}'>"
        with pytest.raises(ValueError, match=message):
            register("SpaceToBatch", cls)
        with pytest.raises(ValueError, match=message):
            register("SpaceToBatch")  # as a decorator, before there is a class to decorate
        first, second = register("New"), register("New")
        first(cls)
        with pytest.raises(ValueError, match=r"'New' is already registered"):
            second(cls)

    @pytest.mark.parametrize(
        ("register", "method"),
        [(caffe2.register_cpu_operator, "run_on_device"), (caffe2.register_gradient, "get_gradient_defs")],
    )
    def test_bad_registrations(self, register: Any, method: str) -> None:
        with pytest.raises(TypeError, match=rf"{register.__name__}: name must be a string, got 3 of type int"):
            register(3, caffe2.SpaceToBatchOp)
        with pytest.raises(TypeError, match=rf"{register.__name__}: cls must be a class with a method {method}, got"):
            register("New", int)

    def test_operator_without_a_gradient(self) -> None:
        caffe2.register_cpu_operator("Mine", caffe2.SpaceToBatchOp)
        message = r"get_gradient_defs: no gradient is registered for 'Mine'; known are 'BatchToSpace', 'SpaceToBatch'$"
        with pytest.raises(ValueError, match=message):
            caffe2.get_gradient_defs(caffe2.create_operator("Mine", "X", "Y"))


def test_the_base_cannot_be_run() -> None:
    with pytest.raises(TypeError, match="abstract"):
        caffe2.SpaceBatchOpBase()
    with pytest.raises(TypeError, match="abstract"):
        caffe2_registry.GradientMakerBase(caffe2.create_operator("SpaceToBatch", "X", "Y"))


PADS = ("pad", "pad_t", "pad_l", "pad_b", "pad_r")
# (arguments, error, message after the operator's name)
BAD_ARGUMENTS = [
    ({"block_size": 0}, ValueError, r"block_size must be at least 1, got 0"),
    ({"block_size": 2.0}, TypeError, r"block_size must be an integer, got 2\.0 of type float"),
    ({"block_size": True}, TypeError, r"block_size must be an integer, got the bool True"),
    ({"pad": None}, TypeError, r"pad must be an integer, got None of type NoneType"),
    *(({name: -1}, ValueError, rf"{name} must not be negative, got -1") for name in PADS),
    *(({name: 1.5}, TypeError, rf"{name} must be an integer, got 1\.5 of type float") for name in PADS),
    ({"pad_b": False}, TypeError, r"pad_b must be an integer, got the bool False"),
    ({"order": "NHWC"}, ValueError, r"order must be one of \('NCHW',\), got 'NHWC'"),
    ({"order": 0}, TypeError, r"order must be one of \('NCHW',\), got 0 of type int"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_ARGUMENTS, ids=lambda value: str(value)[:40])
def test_bad_arguments(make: Any, arguments: Any, error: type[Exception], message: str) -> None:
    x = make(GRID)
    with pytest.raises(error, match="^SpaceToBatch: " + message):
        caffe2.space_to_batch(x, **arguments)
    with pytest.raises(error, match="^BatchToSpace: " + message):
        caffe2.batch_to_space(x, **arguments)


@pytest.mark.parametrize("shape", [(), (4, 4, 4), (4, 1, 4, 4, 4)])
def test_four_dimensions_only(make: Any, shape: tuple[int, ...]) -> None:
    for op in FUNCTIONS:
        with pytest.raises(ValueError, match=rf"^{op}: the input must be 4-D, \(N, C, H, W\), got {len(shape)}-D"):
            CALLS["function"](op, make(np.zeros(shape)), {})


def test_documented_examples(capsys: pytest.CaptureFixture[str]) -> None:
    space, batch = caffe2.space_to_batch_op_example()
    printed = capsys.readouterr().out
    assert printed == f"X: {space}\nX.shape: (1, 3, 5, 5)\nY: {batch}\nY.shape: (9, 3, 3, 3)\n"
    assert printed.startswith("X: [[[[ 0.  1.  2.  3.  4.]\n   [ 5.  6.  7.  8.  9.]\n   [10. 11. 12. 13. 14.]\n")
    assert space.dtype == batch.dtype == np.float32
    assert space.shape == (1, 3, 5, 5)
    assert space.ravel().tolist() == [float(i) for i in range(75)]
    assert same(batch, definition.space_to_batch(space, 3, 2))
    x, y = caffe2.batch_to_space_op_example()
    assert capsys.readouterr().out == f"X: {batch}\nX.shape: (9, 3, 3, 3)\nY: {space}\nY.shape: (1, 3, 5, 5)\n"
    assert same(x, batch)
    assert same(y, space)
