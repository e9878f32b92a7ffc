"""Every example in a docstring runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import spacebatch

NAMES = ["spacebatch"] + [
    info.name
    for info in pkgutil.walk_packages(spacebatch.__path__, "spacebatch.")
    if not info.name.endswith("__main__")
]
PUBLIC = [getattr(spacebatch, name) for name in spacebatch.__all__]
# A reader looks for examples in the reference and where the public names live; elsewhere they run if there are some.
HOMES = {value.__name__ if isinstance(value, ModuleType) else value.__module__ for value in PUBLIC}


def public_functions(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
    described = name.startswith("spacebatch.reference.") and not name.startswith("spacebatch.reference.llvm.")
    if public_functions(module) and (name in HOMES or described):
        assert results.attempted > 0, f"none of {public_functions(module)} has an example"


def test_all_rooms_are_walked() -> None:
    assert {"spacebatch.reference.geometry", "spacebatch.functions", "spacebatch.tl_kernels"} <= {*NAMES}
