"""Which room may import which: reference <- tl_kernels <- dispatch <- nn <- perf, never back."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["reference", "tl_kernels", "dispatch", "dispatch/nn", "perf"]  # each may import itself and those before it


def room_of(name: str) -> str:
    """The room of an absolute module name: dispatch/ is the package itself.

    >>> room_of("spacebatch.nn.atrous"), room_of("spacebatch.aten")
    ('dispatch/nn', 'dispatch')
    """
    first = [*name.split("."), ""][1]
    return {"reference": "reference", "tl_kernels": "tl_kernels", "nn": "dispatch/nn", "perf": "perf"}.get(
        first, "dispatch"
    )


def imported(path: Path, package: str) -> set[str]:
    """The absolute names of all modules of spacebatch that a file imports when it is loaded."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "spacebatch"}


FILES = [(room, path) for room in ROOMS for path in sorted((ROOT / room).glob("*.py"))]
FILES += [("dispatch", path) for path in sorted((ROOT / "dispatch/windows").glob("*.py"))]
FILES += [("dispatch", path) for path in sorted((ROOT / "dispatch/fused").glob("*.py"))]
FILES += [("reference", path) for path in sorted((ROOT / "reference/llvm").glob("*.py"))]
FILES += [("dispatch", path) for path in sorted((ROOT / "dispatch/tiles").glob("*.py"))]
FILES += [("perf", path) for path in sorted((ROOT / "perf/answers").glob("*.py"))]


@pytest.mark.parametrize(("room", "path"), FILES, ids=[str(path.relative_to(ROOT)) for _, path in FILES])
def test_imports_go_one_way(room: str, path: Path) -> None:
    inside = path.parent.relative_to(ROOT / room).parts
    package = ".".join(["spacebatch", *(part for part in room.split("/") if part != "dispatch"), *inside])
    public = room == "dispatch" and path.name in ("__init__.py", "explanation.py")  # which name what nn offers
    allowed = ROOMS[: ROOMS.index(room) + 1] + (["dispatch/nn"] if public else [])
    wrong = {name for name in imported(path, package) if room_of(name) not in allowed}
    assert not wrong, f"{room} may import {allowed}"
    if room == "reference":
        text = path.read_text(encoding="utf-8")
        assert "import torch" not in text, "the reference knows no torch"
        assert "from torch" not in text
