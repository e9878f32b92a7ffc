"""Rows whose neighbours part: taken apart by shuffles, or transposed in squares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from .emit import const
from .lanes import put_together, taken_apart
from .rows import Numbers, Row
from .runs import Runs

Value = Any


def lanes_or_tiles(runs: Runs, numbers: Numbers) -> Row:
    """All phases of each position; the place is the first position, where a long row comes in stretches."""
    code, kind = runs.code, runs.kind
    outers, before, covered, phase_step, block, stretch = numbers(6)
    stretches = kind.borders in kind.axes
    block = const(kind.block) if kind.block else block
    word = kind.word
    whole, past = const(0), outers  # positions whose phases are all in space
    if kind.bordered:
        whole = code.ceil_div(before, block)
        past = code.most(code.div(code.add(before, covered), block), whole)

    def edge(space: Value, batch: Value, start: Value, stop: Value) -> None:
        with code.loop(start, stop) as i, code.loop(const(0), block) as p:
            u = code.add(code.mul(i, block), p)
            target = code.at(code.at(batch, code.mul(p, phase_step)), code.mul(i, word))
            inside = code.builder.icmp_unsigned("<", code.sub(u, before), covered)
            source = code.at(space, code.mul(u, word))
            if kind.to_batch:
                with code.either(inside) as (then, otherwise):
                    with then:
                        code.store(code.load(source, runs.word), target)
                    with otherwise:
                        code.store(runs.pad_word, target)
            else:
                with code.when(inside):
                    code.store(code.load(target, runs.word), source)

    def copy(space: Value, batch: Value, start: Value) -> None:
        low, high, first, last = whole, past, const(0), outers
        if stretches:
            first, last = start, code.least(code.add(start, stretch), outers)
            low, high = (code.least(code.most(i, first), last) for i in (whole, past))
        if kind.bordered:
            edge(space, batch, first, low)
            edge(space, batch, high, last)
        here = code.at(space, code.mul(code.mul(low, block), word))
        there = code.at(batch, code.mul(low, word))

        def body(i: Value, size: int) -> None:
            near, far = code.at(here, code.mul(code.mul(i, block), word)), code.at(there, code.mul(i, word))
            if kind.row == "lanes":
                _lanes(runs, near, far, phase_step, size)
            else:
                _squares(runs, near, far, code.mul(block, word), phase_step, block, size)

        _levels(runs, code.sub(high, low), kind.positions, body)

    def fill(batch: Value) -> None:
        with code.loop(const(0), block) as p:
            runs.fill(code.at(batch, code.mul(p, phase_step)), code.mul(outers, word))

    return Row(copy, fill)


def squares(runs: Runs, numbers: Numbers) -> Row:
    """What is next to each other in space is far apart in the batch tensor, and the other way round."""
    code, kind = runs.code, runs.kind
    positions, phases, before, covered, row_step, phase_step = numbers(6)
    line = code.mul(positions, kind.word)

    def copy(space: Value, batch: Value, _: Value) -> None:
        low, count = const(0), phases
        if kind.bordered:
            low, count = before, covered
            if kind.to_batch:
                runs.fill_each(batch, const(0), low, phase_step, line)
                runs.fill_each(batch, code.add(low, count), phases, phase_step, line)
        here, there = code.at(space, code.mul(low, kind.word)), code.at(batch, code.mul(low, phase_step))

        def body(i: Value, size: int) -> None:
            near, far = code.at(here, code.mul(i, row_step)), code.at(there, code.mul(i, kind.word))
            _squares(runs, near, far, row_step, phase_step, count, size)

        _levels(runs, positions, kind.positions, body)

    def fill(batch: Value) -> None:
        runs.fill_each(batch, const(0), phases, phase_step, line)

    return Row(copy, fill)


def _levels(runs: Runs, count: Value, size: int, body: Callable[[Value, int], None]) -> None:
    """The body for every size of count positions; what is left by one that overlaps, or, where all is too short, smaller."""
    code = runs.code
    if size == 1:
        with code.loop(const(0), count) as i:
            body(i, 1)
        return
    with code.either(code.builder.icmp_signed(">=", count, const(size))) as (then, otherwise):
        with then:
            last = code.sub(count, const(size))
            with code.loop(const(0), last, size) as i:
                body(i, size)
            body(last, size)
        with otherwise:
            _levels(runs, count, size // 4 if size >= 16 else 1, body)


def _lanes(runs: Runs, space: Value, batch: Value, phase_step: Value, size: int) -> None:
    """`size` positions of all phases."""
    code, block, word = runs.code, runs.kind.block, runs.kind.word
    vector = ir.VectorType(runs.word, size) if size > 1 else runs.word
    near = [code.at(space, const(k * size * word)) for k in range(block)]
    far = [code.at(batch, code.mul(phase_step, p)) for p in range(block)]
    sources, targets = (near, far) if runs.kind.to_batch else (far, near)
    moved = [code.load(source, vector) for source in sources]
    if size > 1:
        moved = (taken_apart if runs.kind.to_batch else put_together)(code.builder, moved, size)
    for value, target in zip(moved, targets, strict=True):
        runs.store(value, target, size * word)


def _squares(
    runs: Runs, space: Value, batch: Value, row_step: Value, phase_step: Value, phases: Value, size: int
) -> None:
    """`size` positions, a row of space each, of so many phases: squares, transposed, and single words where they do not fit."""
    code, word = runs.code, runs.kind.word
    vector = ir.VectorType(runs.word, size) if size > 1 else runs.word

    def square(p: Value) -> None:
        near, far = code.at(space, code.mul(p, word)), code.at(batch, code.mul(p, phase_step))
        rows = [code.at(near, code.mul(row_step, k)) for k in range(size)]
        lines = [code.at(far, code.mul(phase_step, k)) for k in range(size)]
        sources, targets = (rows, lines) if runs.kind.to_batch else (lines, rows)
        moved = taken_apart(code.builder, [code.load(source, vector) for source in sources], size)
        for value, target in zip(moved, targets, strict=True):
            code.store(value, target)

    if size == 1:
        with code.loop(const(0), phases) as p:
            square(p)
        return
    with code.either(code.builder.icmp_signed(">=", phases, const(size))) as (then, otherwise):
        with then:
            last = code.sub(phases, const(size))
            with code.loop(const(0), last, size) as p:
                square(p)
            square(last)
        with otherwise, code.loop(const(0), const(size)) as i:
            here, there = code.at(space, code.mul(i, row_step)), code.at(batch, code.mul(i, word))
            _squares(runs, here, there, row_step, phase_step, phases, 1)
