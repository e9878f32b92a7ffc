"""The kernel of a kind, for both operators, in LLVM's intermediate language.

    whole(space, batch, numbers)     a call
    share(job, first, spins)         some of it: chunks of steps from a range of one's own, then from the others', until none is left
    join(job)                        the same, from the range of this thread of PyTorch's: always the same one, whose cache it finds

Both run loops over everything but the rows; a step is one turn of the two outermost loops. A row is what lies along the
innermost blocked dim. Every offset is linear in the loops' indices. A bordered dim has a place u in padded space, and a row is
copied where 0 <= u - before < covered holds for all of them; else it is filled with the pad value (to the batch) or left out (to
space). `plan.Row` tells the sorts of rows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .emit import I64, POINTER, Code, const
from .plan import HEAD_NUMBERS, LOOP_NUMBERS, Kind
from .rows import pixels, windows
from .runs import Runs
from .sharing import write_join, write_share, write_whole
from .transposed import lanes_or_tiles, squares

Value = Any

_ROWS = {"lanes": lanes_or_tiles, "tiles": lanes_or_tiles, "squares": squares, "windows": windows, "pixels": pixels}


def source_text(kind: Kind) -> str:
    """The kernel of a kind as the text that LLVM parses.

    >>> from .plan import make_plan
    >>> from spacebatch.reference.geometry import BlockGeometry
    >>> plan = make_plan("space_to_batch", BlockGeometry((1, 8), (2,)), (8, 1), (4, 1), 4)
    >>> "shufflevector" in source_text(plan.kind)
    True
    """
    module = ir.Module("spacebatch")
    nothing = ir.VoidType()
    run = ir.Function(module, ir.FunctionType(nothing, [POINTER, POINTER, POINTER, I64, I64]), "run")
    run.linkage = "internal"
    for argument in run.args[:3]:
        argument.add_attribute("noalias")
    _Nest(Code(run), kind, run.args).write()
    write_whole(Code(ir.Function(module, ir.FunctionType(nothing, [POINTER] * 3), "whole")), run)
    share = ir.Function(module, ir.FunctionType(I64, [POINTER, I64, I64]), "share")
    write_share(Code(share), run)
    write_join(Code(ir.Function(module, ir.FunctionType(nothing, [POINTER]), "join")), share)
    return str(module)


class _Nest:
    """The loops around the rows."""

    def __init__(self, code: Code, kind: Kind, arguments: Any) -> None:
        self.code, self.kind = code, kind
        self.space, self.batch, self.numbers, self.begin, self.end = arguments
        self.read = 0  # how many of the numbers
        base = self._next(HEAD_NUMBERS)[-1]
        self.space = code.at(self.space, base)
        self.loops = [self._next(LOOP_NUMBERS) for _ in kind.axes]
        self.borders = [self._next(2) for _ in range(kind.borders)]
        self.row = _ROWS[kind.row](Runs(code, kind, code.at(self.numbers, const(8))), self._next)

    def _next(self, count: int) -> list[Value]:
        found = [self.code.number(self.numbers, self.read + k) for k in range(count)]
        self.read += count
        return found

    def write(self) -> None:
        """Steps begin to end."""
        code, loops = self.code, self.loops
        places = [const(0)] * (self.kind.borders + 1)  # the last one is a row's own, where a loop moves it
        with code.loop(self.begin, self.end) as step:
            indices = [step][: len(loops)]
            if len(loops) >= 2:
                first = code.div(step, loops[1][0])
                indices = [first, code.sub(step, code.mul(first, loops[1][0]))]
            state = (self.space, self.batch, places)
            for k, index in enumerate(indices):
                state = self._stepped(state, k, index)
            self._walk(len(indices), state)
        if self.kind.stream:
            code.builder.fence("seq_cst")  # others may read what was written past the cache
        code.builder.ret_void()

    def _stepped(self, state: Any, k: int, index: Value) -> Any:
        """Pointers and places at an index of a loop."""
        code = self.code
        space, batch, places = state
        _, space_step, batch_step, place_step = self.loops[k]
        axis = self.kind.axes[k]
        if axis >= 0:
            places = list(places)
            places[axis] = code.add(places[axis], code.mul(index, place_step))
        return code.at(space, code.mul(index, space_step)), code.at(batch, code.mul(index, batch_step)), places

    def _walk(self, k: int, state: Any) -> None:
        """Loop number k and those inside it, around the rows."""
        code = self.code
        if k < len(self.loops):
            with code.loop(const(0), self.loops[k][0]) as index:
                self._walk(k + 1, self._stepped(state, k, index))
            return
        space, batch, places = state
        copy, fill = self.row
        inside = None
        for place, (before, covered) in zip(places[:-1], self.borders, strict=True):
            here = code.builder.icmp_unsigned("<", code.sub(place, before), covered)
            inside = here if inside is None else code.builder.and_(inside, here)
        if inside is None:
            copy(space, batch, places[-1])
        elif self.kind.to_batch:
            with code.either(inside) as (then, otherwise):
                with then:
                    copy(space, batch, places[-1])
                with otherwise:
                    fill(batch)
        else:
            with code.when(inside):
                copy(space, batch, places[-1])
