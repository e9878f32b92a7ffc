"""What stands on the pages of the documentation: blocks of code, commands, links and tables."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORGE = "https://github.com/spacebatch/spacebatch/blob/main/"
RAW = "https://raw.githubusercontent.com/spacebatch/spacebatch/main/"
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("perf/*.md")})
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\n\s*$")
PROGRAMS = ("bash", "git", "mkdocs", "mypy", "pip", "pytest", "python", "python3", "ruff", "torchrun")
COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ |\.venv/bin/)*(?:{'|'.join(PROGRAMS)}) ")
ROW = re.compile(r"^\| `(.+?)` \| `(.+?)` \|$", re.MULTILINE)


def name_of(page: Path) -> str:
    """A page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def python_blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, code, and the reason why it is not run, or nothing, of each fenced block of Python.

    >>> list(python_blocks("<!-- not run: it waits -->\\n```python\\nsleep(9)\\n```\\n"))
    [(3, 'sleep(9)\\n', 'it waits')]
    """
    for found in FENCE.finditer(text):
        if found[2] == "python":
            before = text[: found.start()]
            reason = NOT_RUN.search(before)
            yield before.count("\n") + 2, textwrap.dedent(found[3]), reason[1] if reason else ""


def commands(text: str) -> Iterator[str]:
    """Every command of a page: in fences, in indented blocks, and `python -m …` in the midst of a line.

    >>> list(commands("    python -m a \\\\\\n        --b\\n\\nsee `python -m\\na --c`\\n```shell\\ngit x && mypy y  # why\\n```"))
    ['python -m a --b', 'git x', 'mypy y', 'python -m a --c']
    """
    fenced = "\n".join(found[3] for found in FENCE.finditer(text) if found[2] == "shell")
    rest = FENCE.sub("", text)
    indented = "\n".join(re.findall(r"^    (.+)$", rest, re.MULTILINE))
    for block in (indented, fenced):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            parts = [part.strip() for part in line.partition("  # ")[0].split("&&")]
            yield from (part for part in parts if COMMAND.match(f"{part} "))
    for found in re.findall(r"`(python\s+-m\s+[^`]+)`", rest):
        yield " ".join(found.split())


def links(text: str) -> list[str]:
    """Where a page's links and pictures lead, outside of code."""
    return re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text))


def sections(text: str) -> dict[str, str]:
    """The text under each heading of the second level."""
    found = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))
