"""Rows whose neighbours part: deinterleaved by shuffles, or transposed in tiles."""

from __future__ import annotations

from .computing import Part
from .deinterleave import deinterleaved, interleaved
from .emit import Value, const, vector
from .segment_rows import Numbers, Row, second_run
from .segments import Segments, known_pieces
from .spec import KernelSpec


def deinterleave(segments: Segments, numbers: Numbers) -> Row:
    """All phases of each position; the place is the first position, where a long row is cut into stretches."""
    code, spec = segments.code, segments.spec
    outers, before, covered, phase_step, block, stretch = numbers(6)
    head, jump = second_run(segments, numbers)
    stretches = spec.borders in spec.axes
    block = const(spec.block) if spec.block else block
    near_word, far_word = spec.words
    channels = spec.computed.channels if spec.computed is not None else "outer"
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
        near = code.at(space, code.mul(u, near_word))
        far = code.at(code.at(batch, code.mul(p, phase_step)), code.mul(i, far_word))
        at = p if channels == "phases" else None
        inside = code.inside(code.sub(u, before), covered)
        if early is not None:
            second = code.less(u, head)
            inside, near = code.any(inside, second), code.at(near, code.select(second, jump, const(0)))
        source, target = (near, far) if spec.to_batch else (far, near)
        if not spec.gaps:
            segments.put(code.load(source, segments.word), target, 1, at)
        elif spec.to_batch:
            with code.either(inside) as (then, otherwise):
                with then:
                    segments.put(code.load(source, segments.word), target, 1, at)
                with otherwise:
                    segments.put_pad(target, at)
        else:
            with code.when(inside):
                segments.put(code.load(source, segments.word), target, 1, at)

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
        here = code.at(space, code.mul(code.mul(low, block), near_word))
        there = code.at(batch, code.mul(low, far_word))

        def body(i: Value, size: int) -> None:
            near = code.at(here, code.mul(code.mul(i, block), near_word))
            far = code.at(there, code.mul(i, far_word))
            if spec.row == "deinterleave":
                _deinterleave(segments, near, far, phase_step, size)
            else:
                _tiles(segments, near, far, code.mul(block, near_word), phase_step, block, size, i, const(0))

        if spec.segment:
            _deinterleave_known(segments, here, there, phase_step)
            return
        segments.levels(code.sub(high, low), spec.positions(segments.vector), body)

    def fill(batch: Value) -> None:
        with code.loop(const(0), block) as p:
            far = code.at(batch, code.mul(p, phase_step))
            length = outers if spec.computed is not None else code.mul(outers, far_word)
            segments.fill(far, length, p if channels == "phases" else None)

    return Row(copy, fill)


def transpose(segments: Segments, numbers: Numbers) -> Row:
    """What is next to each other in space is far apart in the batch tensor, and the other way round."""
    code, spec = segments.code, segments.spec
    positions, phases, before, covered, row_step, phase_step = numbers(6)
    head, jump = second_run(segments, numbers)
    near_word, far_word = spec.words
    line = positions if spec.computed is not None else code.mul(positions, far_word)
    by_phase = spec.computed is not None and spec.computed.channels == "phases"

    def fill_lines(batch: Value, start: Value, stop: Value) -> None:
        with code.loop(start, stop) as p:
            segments.fill(code.at(batch, code.mul(p, phase_step)), line, p if by_phase else None)

    def copy(space: Value, batch: Value, _: Value) -> None:
        low, count = const(0), phases
        if spec.bordered:
            low, count = before, covered
            if spec.to_batch and spec.gaps:
                fill_lines(batch, head, low)
                fill_lines(batch, code.add(low, count), phases)
            if spec.wrapped:
                move(code.at(space, jump), batch, const(0), head)
        move(space, batch, low, count)

    def move(space: Value, batch: Value, low: Value, count: Value) -> None:
        here, there = code.at(space, code.mul(low, near_word)), code.at(batch, code.mul(low, phase_step))

        def body(i: Value, size: int) -> None:
            near, far = code.at(here, code.mul(i, row_step)), code.at(there, code.mul(i, far_word))
            _tiles(segments, near, far, row_step, phase_step, count, size, i, low)

        segments.levels(positions, spec.positions(segments.vector), body)

    def fill(batch: Value) -> None:
        fill_lines(batch, const(0), phases)

    return Row(copy, fill)


def _deinterleave(segments: Segments, space: Value, batch: Value, phase_step: Value, size: int) -> None:
    """`size` positions of all phases."""
    moved = _deinterleaved(segments, space, batch, phase_step, size)
    if segments.computing is None:
        for words, target, _ in moved:
            segments.store(words, target, size * segments.spec.word)
        return
    along = _along_phases(segments.spec)
    step = phase_step if segments.spec.to_batch else const(size * segments.near)
    segments.put_each(moved, size, along, step, size if along else 1)


def _deinterleave_known(segments: Segments, space: Value, batch: Value, phase_step: Value) -> None:
    """All positions of a row of few, where there is arithmetic: two vectors that overlap are computed as one."""
    code, spec = segments.code, segments.spec
    near_word, far_word = spec.words
    most = spec.positions(segments.vector)
    pieces = known_pieces(spec.segment, most)
    size = pieces[0][1]
    step = 2 if len(pieces) == 2 and 2 * size <= most else 1
    for k in range(0, len(pieces), step):
        groups = []
        for offset, _ in pieces[k : k + step]:
            near = code.at(space, const(offset * spec.block * near_word))
            groups.append(_deinterleaved(segments, near, code.at(batch, const(offset * far_word)), phase_step, size))
        for parts in zip(*groups, strict=True):
            segments.put_all(parts, size, _along_phases(spec))


def _along_phases(spec: KernelSpec) -> bool:
    """Whether channels go along the vectors of a deinterleaved row: their tables are repeated then."""
    return spec.computed is not None and spec.computed.channels == "phases" and not spec.to_batch


def _deinterleaved(segments: Segments, space: Value, batch: Value, phase_step: Value, size: int) -> list[Part]:
    """The words of `size` positions of all phases, in the order of the result, and where they go to."""
    code, spec, block = segments.code, segments.spec, segments.spec.block
    near_word, _ = spec.words
    kind = vector(segments.word, size)
    near = [code.at(space, const(k * size * near_word)) for k in range(block)]
    far = [code.at(batch, code.mul(phase_step, p)) for p in range(block)]
    sources, targets = (near, far) if spec.to_batch else (far, near)
    moved = [code.load(source, kind) for source in sources]
    if size > 1:
        moved = (deinterleaved if spec.to_batch else interleaved)(code, moved, size)
    channels: list[Value | None] = [None] * block
    if spec.computed is not None and spec.computed.channels == "phases":
        channels = [const(k * size if _along_phases(spec) else k) for k in range(block)]
    return [Part(*part) for part in zip(moved, targets, channels, strict=True)]


def _tiles(
    segments: Segments,
    space: Value,
    batch: Value,
    row_step: Value,
    phase_step: Value,
    phases: Value,
    size: int,
    position: Value,
    first: Value,
) -> None:
    """`size` positions, a row of space each, of so many phases: tiles, transposed, and single words where they do not fit.

    Args:
        position, first: the numbers of the first position and of the first phase, among those that channels may be.
    """
    code, spec = segments.code, segments.spec
    near_word, far_word = spec.words
    kind = vector(segments.word, size)
    channels = spec.computed.channels if spec.computed is not None else "outer"

    def tile(p: Value) -> None:
        near, far = code.at(space, code.mul(p, near_word)), code.at(batch, code.mul(p, phase_step))
        rows = [code.at(near, code.mul(row_step, k)) for k in range(size)]
        lines = [code.at(far, code.mul(phase_step, k)) for k in range(size)]
        sources, targets = (rows, lines) if spec.to_batch else (lines, rows)
        moved = deinterleaved(code, [code.load(source, kind) for source in sources], size)
        at, along = None, False
        if channels in ("phases", "positions"):
            at = code.add(first, p) if channels == "phases" else position
            along = (channels == "positions") == spec.to_batch
        if segments.computing is None or size == 1:
            for words, target in zip(moved, targets, strict=True):
                segments.put(words, target, size, at, along)
            return
        inner = 0 if along else 1
        steps = [None if at is None else code.add(at, const(k * inner)) for k in range(size)]
        parts = [Part(*part) for part in zip(moved, targets, steps, strict=True)]
        segments.put_each(parts, size, along, phase_step if spec.to_batch else row_step, inner)

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
            here, there = code.at(space, code.mul(i, row_step)), code.at(batch, code.mul(i, far_word))
            here_too = code.add(position, i) if channels == "positions" else position
            _tiles(segments, here, there, row_step, phase_step, phases, 1, here_too, first)
