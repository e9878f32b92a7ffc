"""What MkDocs is told of this repository: pages that stand outside of docs/, examples as pages, and where links between files lead.

Pages link to each other, and to the code, as files of the repository do. A link to what is on the site leads there, any other to the
forge; the README's are complete addresses, for it is read elsewhere, too.
"""

from __future__ import annotations

import ast
import logging
import os
import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
FORGE = "https://github.com/spacebatch/spacebatch/blob/main/"
RAW = "https://raw.githubusercontent.com/spacebatch/spacebatch/main/"
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "perf/NOTES.md": "notes.md",
}
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
log = logging.getLogger("mkdocs.hooks.spacebatch")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

places: dict[str, str] = {}  # of files of the repository on the site


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what stands elsewhere, and note where everything is."""
    places.clear()
    for file in files:
        if file.abs_src_path and Path(file.abs_src_path).is_relative_to(
            ROOT / "docs"
        ):  # the theme has files of its own
            places[f"docs/{file.src_uri}"] = file.src_uri
    outside = PAGES | {f"perf/results/{path.name}": f"results/{path.name}" for path in ROOT.glob("perf/results/*.png")}
    for path, uri in outside.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
        places[path] = uri
    for example in [ROOT / "docs/distributed_example.py", *sorted(ROOT.glob("docs/examples/*.py"))]:
        uri = str(example.relative_to(ROOT / "docs").with_suffix(".md"))
        files.append(File.generated(config, uri, content=example_page(example)))
        places[str(example.relative_to(ROOT))] = uri
    return files


def example_page(path: Path) -> str:
    """The page of an example: what its docstring says, and its code.

    >>> example_page(ROOT / "docs/examples/wavenet_layer.py").splitlines()[0]
    '# wavenet_layer.py'
    """
    code = path.read_text(encoding="utf-8")
    document = ast.get_docstring(ast.parse(code)) or ""
    code = code.partition('"""\n\n')[2]
    where = path.relative_to(ROOT)
    return f"# {path.name}\n\n{document}\n\n[The file]({FORGE}{where}), complete:\n\n```python\n{code}```\n"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page to the site, or to the forge."""
    uri = page.file.src_uri
    source = next((path for path, place in places.items() if place == uri), uri)

    def led(found: re.Match[str]) -> str:
        return found[1] + target(found[2], source, uri) + found[3]

    kept = [*FENCE.findall(markdown), ""]
    return "".join(LINK.sub(led, text) + fence for text, fence in zip(FENCE.split(markdown), kept, strict=True))


def target(link: str, source: str, uri: str) -> str:
    """Where a link in the file `source`, shown at `uri`, leads.

    >>> places.update({"README.md": "index.md", "docs/atrous.md": "atrous.md"})
    >>> target("../README.md#use", "docs/atrous.md", "atrous.md"), target("../perf/blocks.py", "docs/atrous.md", "atrous.md")
    ('index.md#use', 'https://github.com/spacebatch/spacebatch/blob/main/perf/blocks.py')
    """
    path, mark, anchor = link.partition("#")
    if path.startswith((FORGE, RAW)):
        path = path.removeprefix(FORGE).removeprefix(RAW)
    elif not path or ":" in path:
        return link
    else:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if path in places:
        return os.path.relpath(places[path], posixpath.dirname(uri) or ".") + mark + anchor
    return FORGE + path + mark + anchor if (ROOT / path).exists() else link


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> None:
    """Warn, which fails a strict build, where a page would load something from elsewhere."""
    for found in re.findall(
        r"<(?:img|script|source|iframe|link)\b[^>]*?(?:src|srcset|href)=\"?(https?://[^\"\s>]+)", output
    ):
        log.warning("%s loads %s from elsewhere", page.file.src_uri, found)


class Doctests(griffe.Extension):
    """Docstrings as Markdown: it would read the prompts of examples as quotations."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of whatever has one."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(document: str) -> str:
    """A docstring with its examples in fences, and each error that is raised on a line of its own.

    >>> as_markdown(">>> 1 + 1\\n2\\n").splitlines()
    ['```pycon', '>>> 1 + 1', '2', '```']
    >>> as_markdown("Raises:\\n    ValueError: too many. TypeError: no number.").splitlines()
    ['Raises:', '    ValueError: too many.', '    TypeError: no number.']
    """
    document = re.sub(r"^( +)(\w+Error: .*?\.) (?=\w+Error: )", r"\1\2\n\1", document, flags=re.MULTILINE)
    return re.sub(
        r"^>>> (?:.+\n?)+", lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", document, flags=re.MULTILINE
    ).rstrip()
