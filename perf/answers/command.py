"""`python -m spacebatch.perf answers`: one small experiment for each question of docs/questions.md, and that page's figures.

The file is one JSON object: schema 1; answers: name of the question → {question, device, software, command, seconds, load (processes at
its beginning), found}. An answer that is measured again takes the place of the earlier one, and the
others stay. Times are those of the processor, on one thread: other load on the machine changes them least.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from spacebatch.timing import hardware, software

from ..dilated import put_between
from ..records import write_json
from ..report import aligned, markdown
from . import QUESTIONS

SCHEMA = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--question", action="append", choices=QUESTIONS, help="default: all ten; repeatable")
    parser.add_argument(
        "--quick", action="store_true", help="as small as it goes, to try the tool: the figures mean nothing"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="put what was measured into this file, answer by answer"
    )
    parser.add_argument("--read", type=Path, metavar="JSON", help="measure nothing, report on this file")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="put the tables between the marks of this page")


def main(options: argparse.Namespace) -> int:
    """Measure or read, print, write."""
    if options.quick and (options.json or options.write_docs):
        raise ValueError("--quick: such figures mean nothing and are not written")
    torch.set_num_threads(1)
    names = options.question or list(QUESTIONS)
    source = options.read or options.json
    data: dict[str, Any] = (
        read(source) if source and (options.read or source.exists()) else {"schema": SCHEMA, "answers": {}}
    )
    for name in names:
        if not options.read:
            data["answers"][name] = measured(name, options.quick)
            if options.json:
                write_json(data, options.json)
        if name not in data["answers"]:
            raise ValueError(f"{source} has no answer to {name}")
        answer = data["answers"][name]
        print(
            f"\n{answer['question']} ({name}, {answer['seconds']:.0f} s)\n\n{text(name, answer, aligned)}", flush=True
        )
        if options.write_docs:
            put_between(marks(name), text(name, answer, markdown), options.write_docs)
    return 0


def measured(name: str, quick: bool) -> dict[str, Any]:
    """One experiment, with the machine, the versions and the command that repeats it."""
    module, question = QUESTIONS[name]
    start, load = time.perf_counter(), os.getloadavg()[0]
    found = import_module(f".{module}", __package__).measure(quick)
    return {
        "question": question,
        "device": hardware(torch.device("cpu")),
        "software": software(),
        "command": f"python -m spacebatch.perf answers --question {name}",
        "seconds": time.perf_counter() - start,
        "load": load,
        "found": found,
    }


def read(path: Path) -> dict[str, Any]:
    """A file of answers, or a ValueError."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise ValueError(f"it has schema {data['schema']}, this version reads {SCHEMA}")
        for name, answer in data["answers"].items():
            text(name, answer, aligned)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file of answers: {error}") from error
    return data


def marks(name: str) -> tuple[str, str]:
    """The lines of the page between which an answer's figures stand."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def text(name: str, answer: dict[str, Any], table: Any) -> str:
    """What was found, as sentences and tables, with the machine and the command.

    Args:
        table: what makes a table of rows, `aligned` or `markdown`.
    """
    parts = import_module(f".{QUESTIONS[name][0]}", __package__).told(answer["found"])
    told = "\n\n".join(part if isinstance(part, str) else table(part) for part in parts)
    machine = f"Measured on {answer['device']}; {answer['software']}; times are the processor's"
    if answer["load"] > 1.5:  # more than an experiment before this one
        machine += f"; other load on the machine ({answer['load']:.0f} processes), which also slows processor time"
    return f"\n{told}\n\n{machine}. Repeat with `{answer['command']}`.\n\n"
