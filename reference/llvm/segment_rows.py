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
        if not (spec.bordered and spec.segment):
            segments.copy(target, source, spec.segment or code.sub(high, low))
            return
        count = code.sub(high, low)
        with code.either(code.at_least(count, whole)) as (then, otherwise):
            with then:
                segments.copy(target, source, spec.segment)
            with otherwise:
                segments.copy(target, source, count)

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
