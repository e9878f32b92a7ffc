"""Rows made of segments, contiguous or strided."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .emit import Value, const
from .segments import Segments


class Row(NamedTuple):
    """What is done with a row at (space, batch, place along its own dim), and how one that is all border is filled at (batch)."""

    copy: Callable[[Value, Value, Value], None]
    fill: Callable[[Value], None]


# Of a row that a cyclic shift cuts, which is then moved word by word without a branch. Where every eighth row is cut, 7 float32 each,
# two copies of unknown length were mispredicted: batch_to_space of 96 x 56 x 56 took 218 us instead of 104.
MOST_CUT_WORDS = 32

Numbers = Callable[[int], "list[Value]"]  # the next so many of a call's numbers


def second_run(segments: Segments, numbers: Numbers) -> tuple[Value, Value]:
    """(head, jump) of a row's dim, see `kernel`: 0 unless it is wrapped."""
    head, jump = numbers(2) if segments.spec.wrapped and segments.spec.bordered else (const(0), const(0))
    return head, jump


def contiguous_segments(segments: Segments, numbers: Numbers) -> Row:
    """Neighbours on both sides, clipped by a border or cut by a cyclic shift."""
    code, spec = segments.code, segments.spec
    extent, before, covered, unit = numbers(4)
    head, jump = second_run(segments, numbers)
    whole = code.mul(extent, unit)
    filled = spec.to_batch and spec.gaps

    def move(space: Value, batch: Value, size: Value | int) -> None:
        source, target = (space, batch) if spec.to_batch else (batch, space)
        segments.copy(target, source, size)

    def clipped(space: Value, batch: Value, start: Value) -> None:
        def reached(place: Value) -> Value:
            return code.mul(code.clamp(code.sub(place, start), extent), unit)

        if 0 < spec.segment <= MOST_CUT_WORDS * spec.word and segments.computing is None:
            split = reached(head)
            for offset in range(0, spec.segment, spec.word):
                moved = code.select(code.less(const(offset), split), jump, const(0))
                pair = code.at(space, code.add(moved, const(offset))), code.at(batch, const(offset))
                source, target = pair if spec.to_batch else pair[::-1]
                code.store(code.load(source, segments.word), target)
            return
        low, high = reached(before), reached(code.add(before, covered))
        split = reached(head) if spec.wrapped else const(0)
        if filled:
            segments.fill(segments.in_batch(batch, split), code.sub(low, split))
            segments.fill(segments.in_batch(batch, high), code.sub(whole, high))
        if spec.wrapped:
            move(code.at(space, jump), batch, split)
        move(segments.in_space(space, low), segments.in_batch(batch, low), code.sub(high, low))

    def copy(space: Value, batch: Value, start: Value) -> None:
        if not spec.bordered:
            move(space, batch, spec.segment or whole)
        elif not spec.wrapped:
            clipped(space, batch, start)
        else:
            past = code.add(start, extent)
            late = code.both(code.at_least(start, before), code.at_least(code.add(before, covered), past))
            with code.either(code.any(late, code.at_least(head, past))) as (uncut, otherwise):
                with uncut:
                    moved = code.select(code.less(start, head), jump, const(0))
                    move(code.at(space, moved), batch, spec.segment or whole)
                with otherwise:
                    clipped(space, batch, start)

    def fill(batch: Value) -> None:
        segments.fill(batch, whole)

    return Row(copy, fill)


def strided_segments(segments: Segments, numbers: Numbers) -> Row:
    """Segments of one phase, which is the row's place."""
    code, spec = segments.code, segments.spec
    outers, extent, before, covered, space_step, batch_step, unit = numbers(7)
    head, jump = second_run(segments, numbers)
    size = spec.segment or unit

    def copy(space: Value, batch: Value, phase: Value) -> None:
        def reached(place: Value) -> Value:
            return code.least(code.ceil_div(code.sub(place, phase), extent), outers)

        def move(space: Value, low: Value, high: Value) -> None:
            with code.loop(low, high) as o:
                pair = code.at(space, code.mul(o, space_step)), code.at(batch, code.mul(o, batch_step))
                source, target = pair if spec.to_batch else pair[::-1]
                segments.copy(target, source, size)

        low, high, split = const(0), outers, const(0)
        if spec.bordered:
            low, high = reached(before), reached(code.add(before, covered))
            split = reached(head) if spec.wrapped else split
            if spec.to_batch and spec.gaps:
                segments.fill_each(batch, split, low, batch_step, unit)
                segments.fill_each(batch, high, outers, batch_step, unit)
            if spec.wrapped:
                move(code.at(space, jump), const(0), split)
        move(space, low, high)

    def fill(batch: Value) -> None:
        segments.fill_each(batch, const(0), outers, batch_step, unit)

    return Row(copy, fill)


def lines(segments: Segments, numbers: Numbers) -> Row:
    """Segments of a known length, next to each other in the result; all but the last one have room behind them on both sides."""
    code, spec = segments.code, segments.spec
    count, space_step, batch_step = numbers(3)

    def copy(space: Value, batch: Value, _: Value) -> None:
        def line(o: Value, roomy: bool) -> None:
            pair = code.at(space, code.mul(o, space_step)), code.at(batch, code.mul(o, batch_step))
            source, target = pair if spec.to_batch else pair[::-1]
            segments.copy(target, source, spec.segment, roomy)

        def every() -> None:
            last = code.sub(count, const(1))
            with code.loop(const(0), last) as o:
                line(o, True)
            line(last, False)

        computing = segments.computing
        native = None if computing is None else computing.none_is_subnormal()
        if computing is None or native is None:
            every()
            return
        with code.either(native) as (then, otherwise):
            with then:
                computing.native = True
                every()
                computing.native = False
            with otherwise:
                every()

    def fill(batch: Value) -> None:
        segments.fill_each(batch, const(0), count, batch_step, const(spec.segment))

    return Row(copy, fill)


def windows(segments: Segments, numbers: Numbers) -> Row:
    """Windows of neighbours that begin `apart` places from each other, and overlap where they are longer; most are whole."""
    code, spec = segments.code, segments.spec
    count, apart, extent, before, covered, space_step, batch_step, unit = numbers(8)
    whole, past = code.mul(extent, unit), code.add(before, covered)
    low = code.least(code.ceil_div(before, apart), count)
    fitting = code.div(code.most(code.add(code.sub(past, extent), apart), const(0)), apart)
    high = code.most(code.least(fitting, count), low)

    def move(space: Value, batch: Value, size: Value | int) -> None:
        source, target = (space, batch) if spec.to_batch else (batch, space)
        segments.copy(target, source, size)

    def copy(space: Value, batch: Value, _: Value) -> None:
        with code.loop(low, high) as k:
            move(
                code.at(space, code.mul(k, space_step)), code.at(batch, code.mul(k, batch_step)), spec.segment or whole
            )
        clipped = code.add(low, code.sub(count, high))
        with code.loop(const(0), clipped) as turn:  # apart, since what it takes would crowd the other loop's registers
            k = code.add(turn, code.select(code.less(turn, low), const(0), code.sub(high, low)))
            near, far = code.at(space, code.mul(k, space_step)), code.at(batch, code.mul(k, batch_step))
            start = code.mul(k, apart)
            first = code.mul(code.clamp(code.sub(before, start), extent), unit)
            last = code.mul(code.clamp(code.sub(past, start), extent), unit)
            if spec.to_batch:
                segments.fill(far, first)
                segments.fill(segments.in_batch(far, last), code.sub(whole, last))
            move(segments.in_space(near, first), segments.in_batch(far, first), code.sub(last, first))

    def fill(batch: Value) -> None:
        segments.fill_each(batch, const(0), count, batch_step, whole)

    return Row(copy, fill)
