"""Rows whose neighbours part: deinterleaved by shuffles, or transposed in tiles."""

from __future__ import annotations

from collections.abc import Callable

from .deinterleave import deinterleaved, interleaved
from .emit import Value, const, vector
from .segment_rows import Numbers, Row, second_run
from .segments import Segments


def deinterleave(segments: Segments, numbers: Numbers) -> Row:
    """All phases of each position; the place is the first position, where a long row is cut into stretches."""
    code, spec = segments.code, segments.spec
    outers, before, covered, phase_step, block, stretch = numbers(6)
    head, jump = second_run(segments, numbers)
    stretches = spec.borders in spec.axes
    block = const(spec.block) if spec.block else block
    word = spec.word
    whole, past = const(0), outers  # positions whose phases are all in space
    if spec.bordered:
        whole = code.ceil_div(before, block)
        past = code.most(code.div(code.add(before, covered), block), whole)
    # of the second run: positions before this one, all of whose phases are in it
    early = code.div(head, block) if spec.wrapped and spec.bordered else None

    def edge(space: Value, batch: Value, start: Value, stop: Value) -> None:
        with code.loop(start, stop) as i:
            if spec.block and not spec.gaps:
                for phase in range(spec.block):
                    element(space, batch, i, const(phase))
            else:
                with code.loop(const(0), block) as p:
                    element(space, batch, i, p)

    def element(space: Value, batch: Value, i: Value, p: Value) -> None:
        u = code.add(code.mul(i, block), p)
        near = code.at(space, code.mul(u, word))
        far = code.at(code.at(batch, code.mul(p, phase_step)), code.mul(i, word))
        inside = code.inside(code.sub(u, before), covered)
        if early is not None:
            second = code.less(u, head)
            inside, near = code.any(inside, second), code.at(near, code.select(second, jump, const(0)))
        source, target = (near, far) if spec.to_batch else (far, near)
        if not spec.gaps:
            code.store(code.load(source, segments.word), target)
        elif spec.to_batch:
            with code.either(inside) as (then, otherwise):
                with then:
                    code.store(code.load(source, segments.word), target)
                with otherwise:
                    code.store(segments.pad_word, target)
        else:
            with code.when(inside):
                code.store(code.load(source, segments.word), target)

    def copy(space: Value, batch: Value, start: Value) -> None:
        low, high, first, last = whole, past, const(0), outers
        split = early
        if stretches:
            first, last = start, code.least(code.add(start, stretch), outers)
            low, high = (code.least(code.most(i, first), last) for i in (whole, past))
            split = None if early is None else code.least(code.most(early, first), last)
        if spec.bordered:
            edge(space, batch, first if split is None else split, low)
            edge(space, batch, high, last)
        if split is not None:
            move(code.at(space, jump), batch, first, split)
        move(space, batch, low, high)

    def move(space: Value, batch: Value, low: Value, high: Value) -> None:
        here = code.at(space, code.mul(code.mul(low, block), word))
        there = code.at(batch, code.mul(low, word))

        def body(i: Value, size: int) -> None:
            near, far = code.at(here, code.mul(code.mul(i, block), word)), code.at(there, code.mul(i, word))
            if spec.row == "deinterleave":
                _deinterleave(segments, near, far, phase_step, size)
            else:
                _tiles(segments, near, far, code.mul(block, word), phase_step, block, size)

        _levels(segments, code.sub(high, low), spec.positions(segments.vector), body)

    def fill(batch: Value) -> None:
        with code.loop(const(0), block) as p:
            segments.fill(code.at(batch, code.mul(p, phase_step)), code.mul(outers, word))

    return Row(copy, fill)


def transpose(segments: Segments, numbers: Numbers) -> Row:
    """What is next to each other in space is far apart in the batch tensor, and the other way round."""
    code, spec = segments.code, segments.spec
    positions, phases, before, covered, row_step, phase_step = numbers(6)
    head, jump = second_run(segments, numbers)
    line = code.mul(positions, spec.word)

    def copy(space: Value, batch: Value, _: Value) -> None:
        low, count = const(0), phases
        if spec.bordered:
            low, count = before, covered
            if spec.to_batch and spec.gaps:
                segments.fill_each(batch, head, low, phase_step, line)
                segments.fill_each(batch, code.add(low, count), phases, phase_step, line)
            if spec.wrapped:
                move(code.at(space, jump), batch, const(0), head)
        move(space, batch, low, count)

    def move(space: Value, batch: Value, low: Value, count: Value) -> None:
        here, there = code.at(space, code.mul(low, spec.word)), code.at(batch, code.mul(low, phase_step))

        def body(i: Value, size: int) -> None:
            near, far = code.at(here, code.mul(i, row_step)), code.at(there, code.mul(i, spec.word))
            _tiles(segments, near, far, row_step, phase_step, count, size)

        _levels(segments, positions, spec.positions(segments.vector), body)

    def fill(batch: Value) -> None:
        segments.fill_each(batch, const(0), phases, phase_step, line)

    return Row(copy, fill)


def _levels(segments: Segments, count: Value, size: int, body: Callable[[Value, int], None]) -> None:
    """The body for every size of count positions; what is left by one that overlaps, or, where all is too short, smaller."""
    code = segments.code
    if size == 1:
        with code.loop(const(0), count) as i:
            body(i, 1)
        return
    with code.either(code.at_least(count, const(size))) as (then, otherwise):
        with then:
            last = code.sub(count, const(size))
            with code.loop(const(0), last, size) as i:
                body(i, size)
            body(last, size)
        with otherwise:
            _levels(segments, count, size // 4 if size >= 16 else 1, body)


def _deinterleave(segments: Segments, space: Value, batch: Value, phase_step: Value, size: int) -> None:
    """`size` positions of all phases."""
    code, block, word = segments.code, segments.spec.block, segments.spec.word
    kind = vector(segments.word, size)
    near = [code.at(space, const(k * size * word)) for k in range(block)]
    far = [code.at(batch, code.mul(phase_step, p)) for p in range(block)]
    sources, targets = (near, far) if segments.spec.to_batch else (far, near)
    moved = [code.load(source, kind) for source in sources]
    if size > 1:
        moved = (deinterleaved if segments.spec.to_batch else interleaved)(code, moved, size)
    for value, target in zip(moved, targets, strict=True):
        segments.store(value, target, size * word)


def _tiles(
    segments: Segments, space: Value, batch: Value, row_step: Value, phase_step: Value, phases: Value, size: int
) -> None:
    """`size` positions, a row of space each, of so many phases: tiles, transposed, and single words where they do not fit."""
    code, word = segments.code, segments.spec.word
    kind = vector(segments.word, size)

    def tile(p: Value) -> None:
        near, far = code.at(space, code.mul(p, word)), code.at(batch, code.mul(p, phase_step))
        rows = [code.at(near, code.mul(row_step, k)) for k in range(size)]
        lines = [code.at(far, code.mul(phase_step, k)) for k in range(size)]
        sources, targets = (rows, lines) if segments.spec.to_batch else (lines, rows)
        moved = deinterleaved(code, [code.load(source, kind) for source in sources], size)
        for value, target in zip(moved, targets, strict=True):
            code.store(value, target)

    if size == 1:
        with code.loop(const(0), phases) as p:
            tile(p)
        return
    with code.either(code.at_least(phases, const(size))) as (then, otherwise):
        with then:
            last = code.sub(phases, const(size))
            with code.loop(const(0), last, size) as p:
                tile(p)
            tile(last)
        with otherwise, code.loop(const(0), const(size)) as i:
            here, there = code.at(space, code.mul(i, row_step)), code.at(batch, code.mul(i, word))
            _tiles(segments, here, there, row_step, phase_step, phases, 1)
