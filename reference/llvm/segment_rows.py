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


Numbers = Callable[[int], "list[Value]"]  # the next so many of a call's numbers


def contiguous_segments(segments: Segments, numbers: Numbers) -> Row:
    """Neighbours on both sides, clipped by a border."""
    code, spec = segments.code, segments.spec
    extent, before, covered, unit = numbers(4)
    whole = code.mul(extent, unit)

    def copy(space: Value, batch: Value, start: Value) -> None:
        low, high = const(0), whole
        if spec.bordered:
            low = code.mul(code.clamp(code.sub(before, start), extent), unit)
            high = code.mul(code.clamp(code.sub(code.add(before, covered), start), extent), unit)
            if spec.to_batch:
                segments.fill(batch, low)
                segments.fill(code.at(batch, high), code.sub(whole, high))
        source, target = code.at(space, low), code.at(batch, low)
        if not spec.to_batch:
            source, target = target, source
        segments.copy(target, source, spec.segment or code.sub(high, low))

    def fill(batch: Value) -> None:
        segments.fill(batch, whole)

    return Row(copy, fill)


def strided_segments(segments: Segments, numbers: Numbers) -> Row:
    """Segments of one phase, which is the row's place."""
    code, spec = segments.code, segments.spec
    outers, extent, before, covered, space_step, batch_step, unit = numbers(7)
    size = spec.segment or unit

    def copy(space: Value, batch: Value, phase: Value) -> None:
        low, high = const(0), outers
        if spec.bordered:
            low = code.least(code.ceil_div(code.sub(before, phase), extent), outers)
            past = code.ceil_div(code.sub(code.add(before, covered), phase), extent)
            high = code.least(past, outers)
            if spec.to_batch:
                segments.fill_each(batch, const(0), low, batch_step, unit)
                segments.fill_each(batch, high, outers, batch_step, unit)
        with code.loop(low, high) as o:
            pair = code.at(space, code.mul(o, space_step)), code.at(batch, code.mul(o, batch_step))
            source, target = pair if spec.to_batch else pair[::-1]
            segments.copy(target, source, size)

    def fill(batch: Value) -> None:
        segments.fill_each(batch, const(0), outers, batch_step, unit)

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
                segments.fill(code.at(far, last), code.sub(whole, last))
            move(code.at(near, first), code.at(far, first), code.sub(last, first))

    def fill(batch: Value) -> None:
        segments.fill_each(batch, const(0), count, batch_step, whole)

    return Row(copy, fill)
