"""Rows made of runs: windows and pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .emit import const
from .runs import Runs

Value = Any


class Row(NamedTuple):
    """What is done with a row at (space, batch, place along its own dim), and how one that is all border is filled at (batch)."""

    copy: Callable[[Value, Value, Value], None]
    fill: Callable[[Value], None]


Numbers = Callable[[int], "list[Value]"]  # the next so many of a call's numbers


def windows(runs: Runs, numbers: Numbers) -> Row:
    """Neighbours on both sides, clipped by a border."""
    code, kind = runs.code, runs.kind
    extent, before, covered, unit = numbers(4)
    whole = code.mul(extent, unit)

    def copy(space: Value, batch: Value, start: Value) -> None:
        low, high = const(0), whole
        if kind.bordered:
            low = code.mul(code.clamp(code.sub(before, start), extent), unit)
            high = code.mul(code.clamp(code.sub(code.add(before, covered), start), extent), unit)
            if kind.to_batch:
                runs.fill(batch, low)
                runs.fill(code.at(batch, high), code.sub(whole, high))
        source, target = code.at(space, low), code.at(batch, low)
        if not kind.to_batch:
            source, target = target, source
        runs.copy(target, source, kind.run or code.sub(high, low))

    def fill(batch: Value) -> None:
        runs.fill(batch, whole)

    return Row(copy, fill)


def pixels(runs: Runs, numbers: Numbers) -> Row:
    """Runs of one phase, which is the row's place."""
    code, kind = runs.code, runs.kind
    outers, extent, before, covered, space_step, batch_step, unit = numbers(7)
    run = kind.run or unit

    def copy(space: Value, batch: Value, phase: Value) -> None:
        low, high = const(0), outers
        if kind.bordered:
            low = code.least(code.ceil_div(code.sub(before, phase), extent), outers)
            past = code.ceil_div(code.sub(code.add(before, covered), phase), extent)
            high = code.least(past, outers)
            if kind.to_batch:
                runs.fill_each(batch, const(0), low, batch_step, unit)
                runs.fill_each(batch, high, outers, batch_step, unit)
        with code.loop(low, high) as o:
            pair = code.at(space, code.mul(o, space_step)), code.at(batch, code.mul(o, batch_step))
            source, target = pair if kind.to_batch else pair[::-1]
            runs.copy(target, source, run)

    def fill(batch: Value) -> None:
        runs.fill_each(batch, const(0), outers, batch_step, unit)

    return Row(copy, fill)
