"""Caffe2's registries in small: operators by name, their definitions, and the makers of their gradients.

Every operator here reads one blob and writes one blob, so a definition that exists is complete and can be run.
"""

from __future__ import annotations

import inspect
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, overload

from .reference.arguments import shown


class Operator(Protocol):
    """What a registered class makes when it is called with the arguments of a definition."""

    def run_on_device(self, input: Any, /) -> Any: ...


class GradientMaker(Protocol):
    """What a registered class makes when it is called with the definition to differentiate."""

    def get_gradient_defs(self) -> list[OperatorDef]: ...


OperatorClass = TypeVar("OperatorClass", bound=Callable[..., Operator])
GradientClass = TypeVar("GradientClass", bound=Callable[..., GradientMaker])

_operators: dict[str, Callable[..., Operator]] = {}
_gradients: dict[str, Callable[..., GradientMaker]] = {}


def _register(function: str, registry: dict[str, Any], method: str, name: str, cls: Any) -> Any:
    if not isinstance(name, str):
        raise TypeError(f"{function}: name must be a string, got {shown(name)} of type {type(name).__name__}")
    if name in registry:
        raise ValueError(f"{function}: {name!r} is already registered, as {registry[name]!r}")
    if cls is None:
        return lambda decorated: _register(function, registry, method, name, decorated)
    if not callable(getattr(cls, method, None)):
        raise TypeError(f"{function}: cls must be a class with a method {method}, got {shown(cls)}")
    registry[name] = cls
    return cls


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"


@overload
def register_cpu_operator(name: str, cls: OperatorClass) -> OperatorClass: ...
@overload
def register_cpu_operator(name: str, cls: None = None) -> Callable[[OperatorClass], OperatorClass]: ...
def register_cpu_operator(name: str, cls: Any = None) -> Any:
    """Make a class known as the operator `name`; also a decorator.

    >>> from spacebatch import caffe2
    >>> class OtherOp(caffe2.SpaceToBatchOp): ...
    >>> caffe2.register_cpu_operator("SpaceToBatch", OtherOp)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: register_cpu_operator: 'SpaceToBatch' is already registered, as <class '...SpaceToBatchOp'>

    Args:
        name: the operator's type, not registered before.
        cls: a class whose constructor takes the operator's arguments by keyword and whose `run_on_device` takes the
            input and returns the output; left out to decorate one.

    Returns:
        `cls`, or a decorator.

    Raises:
        ValueError: a name registered twice.
        TypeError: a name that is no string, a class without `run_on_device`.

    Source: Caffe2's REGISTER_CPU_OPERATOR.
    """
    return _register("register_cpu_operator", _operators, "run_on_device", name, cls)


@overload
def register_gradient(name: str, cls: GradientClass) -> GradientClass: ...
@overload
def register_gradient(name: str, cls: None = None) -> Callable[[GradientClass], GradientClass]: ...
def register_gradient(name: str, cls: Any = None) -> Any:
    """Make a class known as the maker of the gradient of operator `name`; also a decorator.

    >>> from spacebatch import caffe2
    >>> class GetOtherGradient(caffe2.GetSpaceToBatchGradient): ...
    >>> caffe2.register_gradient("SpaceToBatch", GetOtherGradient)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: register_gradient: 'SpaceToBatch' is already registered, as <class '...GetSpaceToBatchGradient'>

    Args:
        name: the type of the operator that is differentiated, not registered before.
        cls: a class whose constructor takes an `OperatorDef` and whose `get_gradient_defs` returns those of the
            gradient; left out to decorate one.

    Returns:
        `cls`, or a decorator.

    Raises:
        ValueError: a name registered twice.
        TypeError: a name that is no string, a class without `get_gradient_defs`.

    Source: Caffe2's REGISTER_GRADIENT.
    """
    return _register("register_gradient", _gradients, "get_gradient_defs", name, cls)


@dataclass(frozen=True, init=False)
class OperatorDef:
    """An operator with its arguments and the names of what it reads and writes: frozen, hashable, ready to run.

    >>> import numpy as np
    >>> from spacebatch import caffe2
    >>> definition = caffe2.OperatorDef("SpaceToBatch", ["X"], ["Y"], {"block_size": 2, "pad": 1})
    >>> definition.arguments
    (('block_size', 2), ('pad', 1))
    >>> definition.run(np.ones((1, 3, 2, 2))).shape
    (4, 3, 2, 2)

    Args:
        type: the registered name of the operator.
        inputs, outputs: the one name of each, as a string or in a sequence.
        arguments: name → value, or pairs of them; None stands for an argument that is not given. Kept sorted by name.

    Raises:
        ValueError: a type that is not registered, more or fewer names than one, an argument's value out of range.
        TypeError: names that are no strings, unknown arguments, an argument of a wrong type.

    Source: Caffe2's OperatorDef.
    """

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: tuple[tuple[str, int | str], ...]
    # Made from the four above, so that what is wrong with them is known at once:
    operator: Operator = field(compare=False, repr=False)

    def __init__(
        self,
        type: str,
        inputs: str | Sequence[str],
        outputs: str | Sequence[str],
        arguments: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
    ) -> None:
        cls = _operator_class(type)
        given = _given_arguments(type, cls, arguments)
        put = self.__dict__.__setitem__  # frozen for everybody else
        put("type", type)
        put("inputs", _one_name(type, "inputs", inputs))
        put("outputs", _one_name(type, "outputs", outputs))
        put("operator", cls(**given))
        put("arguments", tuple((name, _plain(value)) for name, value in given.items()))

    def run(self, input: Any) -> Any:
        """The operator's output for the given input.

        >>> import numpy as np
        >>> from spacebatch import caffe2
        >>> caffe2.create_operator("BatchToSpace", "X", "Y").run(np.arange(4).reshape(4, 1, 1, 1)).tolist()
        [[[[0, 1], [2, 3]]]]

        Args:
            input: NumPy array or torch tensor, as the operator's `run_on_device` takes it.

        Returns:
            What `run_on_device` returns: an array for an array, a tensor for a tensor.

        Raises:
            ValueError, TypeError: an input that the operator refuses.

        Source: Caffe2's RunOperatorOnce, with the blobs' values in place of a workspace.
        """
        return self.operator.run_on_device(input)


def _operator_class(type: str) -> Callable[..., Operator]:
    if not isinstance(type, str):
        raise TypeError(f"OperatorDef: type must be a string, got {shown(type)}")
    if type not in _operators:
        raise ValueError(f"OperatorDef: type {type!r} is not a registered operator; known are {_listed(_operators)}")
    return _operators[type]


def _given_arguments(type: str, cls: Callable[..., Operator], arguments: Any) -> dict[str, Any]:
    """The arguments that are given, sorted by name; the class's constructor knows them all."""
    try:
        pairs = dict(arguments)
    except (TypeError, ValueError):
        pairs = {None: None}
    if not all(isinstance(name, str) for name in pairs):
        raise TypeError(f"{type}: arguments must map names to values, got {shown(arguments)}")
    given = {name: value for name, value in sorted(pairs.items()) if value is not None}
    known = inspect.signature(cls).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    unknown = [] if open_ended else [name for name in given if name not in known]
    if unknown:
        raise TypeError(f"{type}: unknown arguments {_listed(unknown)}; known are {_listed(known)}")
    return given


def _one_name(type: str, field_name: str, names: Any) -> tuple[str, ...]:
    listed = (names,) if isinstance(names, str) else names
    if not isinstance(listed, Sequence) or not all(isinstance(name, str) for name in listed):
        raise TypeError(f"{type}: {field_name} must be a string or a sequence of strings, got {shown(names)}")
    if len(listed) != 1:
        raise ValueError(f"{type}: {field_name} must name one blob, got {shown(names)}")
    return tuple(listed)


def _plain(value: Any) -> Any:
    """Integers of any kind as ints, so that equal definitions are equal and hash alike."""
    try:
        return operator.index(value)
    except TypeError:
        return value


def create_operator(
    operator_type: str, inputs: str | Sequence[str], outputs: str | Sequence[str], **arguments: Any
) -> OperatorDef:
    """Define an operator by its registered name.

    >>> import numpy as np
    >>> from spacebatch import caffe2
    >>> op = caffe2.create_operator("SpaceToBatch", inputs=["X"], outputs=["Y"], block_size=2, pad=1)
    >>> op.run(np.arange(1, 5).reshape(1, 1, 2, 2))[3].tolist()
    [[[1, 0], [0, 0]]]

    Args:
        operator_type: the operator's name.
        inputs, outputs: the one name of each.
        arguments: the operator's arguments; None stands for one that is not given.

    Returns:
        `OperatorDef`.

    Raises:
        ValueError, TypeError: as `OperatorDef`.

    Source: Caffe2's core.CreateOperator.
    """
    return OperatorDef(operator_type, inputs, outputs, arguments)


def _check_definition(where: str, definition: Any) -> None:
    if not isinstance(definition, OperatorDef):
        kind = type(definition).__name__
        raise TypeError(f"{where}: definition must be an OperatorDef, got {shown(definition)} of type {kind}")


class GradientMakerBase(ABC):
    """Makes the definitions of an operator's gradient; a subclass says which.

    >>> from spacebatch import caffe2
    >>> maker = caffe2.GetSpaceToBatchGradient(caffe2.create_operator("SpaceToBatch", "image", "blocks"))
    >>> maker.go(0), maker.gi(0)
    ('blocks_grad', 'image_grad')

    Args:
        definition: the operator that is differentiated.

    Raises:
        TypeError: a definition that is no `OperatorDef`.

    Source: Caffe2's GradientMakerBase.
    """

    def __init__(self, definition: OperatorDef) -> None:
        _check_definition(type(self).__name__, definition)
        self.definition = definition

    def go(self, index: int) -> str:
        """The name of the gradient of output `index`."""
        return f"{self.definition.outputs[index]}_grad"

    def gi(self, index: int) -> str:
        """The name of the gradient of input `index`."""
        return f"{self.definition.inputs[index]}_grad"

    def single_gradient_def(self, type: str, inputs: Sequence[str], outputs: Sequence[str]) -> list[OperatorDef]:
        """A gradient of one operator, which takes all arguments of the operator that is differentiated."""
        return [OperatorDef(type, inputs, outputs, self.definition.arguments)]

    @abstractmethod
    def get_gradient_defs(self) -> list[OperatorDef]:
        """The gradient's operators, in the order in which they run."""


def get_gradient_defs(definition: OperatorDef) -> list[OperatorDef]:
    """The definitions of an operator's gradient, by the maker registered for it.

    >>> from spacebatch import caffe2
    >>> caffe2.get_gradient_defs(caffe2.create_operator("SpaceToBatch", "X", "Y", pad=1))
    [OperatorDef(type='BatchToSpace', inputs=('Y_grad',), outputs=('X_grad',), arguments=(('pad', 1),))]

    Args:
        definition: the operator that is differentiated.

    Returns:
        The gradient's definitions, in the order in which they run.

    Raises:
        ValueError: an operator without a gradient.
        TypeError: a definition that is no `OperatorDef`.

    Source: Caffe2's GetGradientForOp.
    """
    _check_definition("get_gradient_defs", definition)
    if definition.type not in _gradients:
        known = _listed(_gradients)
        raise ValueError(f"get_gradient_defs: no gradient is registered for {definition.type!r}; known are {known}")
    return _gradients[definition.type](definition).get_gradient_defs()
