"""The documentation is true: its code runs, its commands parse, its links lead somewhere, its lists are complete."""

from __future__ import annotations

import argparse
import ast
import doctest
import importlib
import importlib.util
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

import spacebatch
from spacebatch.perf.__main__ import COMMANDS
from tests.docs import pages
from tests.docs.pages import FORGE, PAGES, PROGRAMS, RAW, ROOT, commands, links, name_of, python_blocks, sections

TEXTS = {name_of(page): page.read_text(encoding="utf-8") for page in PAGES}
CODE = [name for name, text in TEXTS.items() if any(not reason for _, _, reason in python_blocks(text))]
PARSERS = {"spacebatch": "spacebatch.command", "spacebatch.perf": "spacebatch.perf.__main__"}  # of what python -m runs
SHAPE = re.compile(r"\((?:\d+, )*\d+,?\)")


@pytest.mark.parametrize("name", CODE)
def test_code(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other, and shapes in comments are those of what stands before them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # C++ would take seconds
    names: dict[str, Any] = {"__name__": "page"}
    for line, code, reason in python_blocks(TEXTS[name]):
        if not reason:
            run(code, names, f"{name}, line {line}")


def run(code: str, names: dict[str, Any], where: str) -> None:
    """Run code statement by statement."""
    lines = code.splitlines()
    for statement in ast.parse(code).body:
        module = ast.Module([statement], [])
        exec(compile(module, where, "exec"), names)
        comment = lines[(statement.end_lineno or 1) - 1].partition("  # ")[2]
        told = SHAPE.findall(comment)
        if told and isinstance(statement, ast.Assign | ast.Expr):
            about = re.match(r"[\w.]+(?=: \()", comment)
            subject = ast.unparse(statement.targets[0] if isinstance(statement, ast.Assign) else statement.value)
            found = shapes(eval(about[0] if about else subject, names))
            assert found[: len(told)] == told, f"{where}: {ast.unparse(statement)}"


def shapes(value: Any) -> list[str]:
    """The shapes of tensors, also of several; a tuple of numbers stands for itself."""
    if isinstance(value, list | tuple) and not all(isinstance(part, int) for part in value):
        return [shape for part in value for shape in shapes(part)]
    return [str(tuple(value) if isinstance(value, tuple) else tuple(value.shape))]


def test_a_wrong_comment_is_seen() -> None:
    with pytest.raises(AssertionError, match="page: x = "):
        run("import torch\nx = torch.ones(2, 3)  # (2, 4): wrong", {}, "page")


class ParsedError(Exception):
    """Raised in place of what a command would do."""


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if [*commands(text)]])
def test_commands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = argparse.ArgumentParser.parse_args

    def parse(parser: argparse.ArgumentParser, *arguments: Any) -> NoReturn:
        original(parser, *arguments)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    for command in commands(TEXTS[name]):
        check(command)


def check(command: str) -> None:
    """Fail where a command names a file or a module that is not there, or options that its parser does not know."""
    words = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=.*", word)]
    program, *rest = words
    program = program.removeprefix(".venv/bin/")
    assert program in PROGRAMS, command
    if program.startswith("python") and rest[0] == "-m":
        module, *options = rest[1:]
        if module == "venv" or "COMMAND" in options:
            return
        main = importlib.import_module(PARSERS.get(module, find(module))).main
        if options or module == "spacebatch":
            try:
                with pytest.raises(ParsedError):
                    main(options)
            except SystemExit as refused:
                raise AssertionError(f"{command}: its parser refuses the options") from refused
    for word in rest:
        if "/" in word and "://" not in word and "=" not in word and not word.startswith(("-", "perf/results/")):
            assert (ROOT / word).exists(), f"{command}: there is no {word}"


def find(module: str) -> str:
    """The file that `python -m` runs: a module, or a package's `__main__`."""
    return f"{module}.__main__" if (ROOT / module.replace(".", "/")).is_dir() else module


@pytest.mark.parametrize(
    "command", ["python -m spacebatch --speed 9", "bash tests/nothing.sh", "python -m spacebatch.perf fly"]
)
def test_wrong_commands_are_seen(command: str) -> None:
    with pytest.raises(AssertionError):
        check(command)


@pytest.mark.parametrize("name", TEXTS)
def test_links(name: str) -> None:
    here = (ROOT / name).parent
    for link in links(TEXTS[name]):
        path = link.partition("#")[0]
        if path.startswith((FORGE, RAW)):
            assert (ROOT / path.removeprefix(FORGE).removeprefix(RAW)).exists(), link
        elif path and "://" not in path:
            assert (here / path).exists(), link


def test_the_readme_is_short_and_reads_elsewhere() -> None:
    text = TEXTS["README.md"]
    assert len(text.splitlines()) <= 100
    assert all("://" in link for link in links(text))


def test_the_reference_has_every_public_name() -> None:
    documented = re.findall(r"^::: (\S+)$", "\n".join(TEXTS.values()), re.MULTILINE)
    modules = ("", ".fused", ".nn", ".nn.functional", ".windows", ".tensorflow", ".caffe2")
    public = {
        f"spacebatch{module}.{name}"
        for module in modules
        for name in importlib.import_module(f"spacebatch{module}").__all__
    }
    public = public - {"spacebatch.warm_up"} | {"spacebatch.warm_up.warm_up"}  # a function in a module of its name
    rooms = {
        f"spacebatch.{room}"
        for room in ("caffe2", "fused", "nn", "nn.functional", "reference", "tensorflow", "windows")
    }
    places = ("spacebatch.reference", "spacebatch.reference.definition")
    twice = {f"{place}.{operator}" for place in places for operator in ("space_to_batch", "batch_to_space")}
    assert sorted(documented) == sorted((public - rooms) | twice)
    assert {f"`{name}`" for name in spacebatch.__all__} <= {*re.findall(r"`\w+`", TEXTS["docs/api/index.md"])}


def test_every_environment_variable_is_listed() -> None:
    folders = ("dispatch", "reference", "tl_kernels", "perf")
    code = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in ROOT.glob(f"{folder}/**/*.py"))
    listed = re.findall(r"^\| `(SPACEBATCH_\w+)`", TEXTS["docs/backends.md"], re.MULTILINE)
    assert sorted(listed) == sorted({*re.findall(r"SPACEBATCH_[A-Z_]+\b", code)} - {"SPACEBATCH_"})


def test_every_command_of_perf_is_listed() -> None:
    table = re.findall(r"^\| `([\w-]+)` \| (.+) \|$", TEXTS["docs/commands.md"], re.MULTILINE)
    assert [name for name, _ in table] == [*COMMANDS]


def test_every_example_is_listed() -> None:
    examples = {path.name for path in [*ROOT.glob("docs/examples/*.py"), ROOT / "docs/distributed_example.py"]}
    listed = re.findall(r"^\| \[(\w+\.py)\]", sections("## x\n" + TEXTS["docs/recipes.md"])["x"], re.MULTILINE)
    assert sorted(listed) == sorted(examples)


def test_what_reads_the_pages() -> None:
    results = doctest.testmod(pages)
    assert results.failed == 0
    assert results.attempted > 0


def test_what_makes_the_site() -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/site/hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    results = doctest.testmod(hooks)
    assert results.failed == 0
    assert results.attempted > 0
