"""The kernel of a spec, for both operators, in LLVM's intermediate language.

    whole(space, batch, numbers)     a call
    share(job, first, spins)         some of one or of a list of pieces: chunks of steps from a range of one's own, then from the others', until none is left
    join(job)                        the same, from the range of this thread of an OpenMP library, whose number among them tells which

Both run loops over everything but the rows; a step is one turn of the two outermost loops. A row is what lies along the
innermost blocked dim. Every offset is linear in the loops' indices. A bordered dim has a place u in padded space, and a row is
copied where 0 <= u - before < covered holds for all of them; else it is filled with the pad value (to the batch) or left out (to
space). After a cyclic shift what is covered may be two runs: this one and that of the places u < head, whose elements in space follow
those of the first; to their offset `jump` is added. `spec.Row` names the kinds of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .computing import Computing
from .emit import I64, POINTER, Code, Module, Value, const
from .segment_rows import contiguous_segments, lines, strided_segments, windows
from .segments import Segments
from .sharing import write_join, write_pieces, write_share, write_whole
from .spec import BORDER_NUMBERS, HEAD_NUMBERS, LOOP_NUMBERS, OPERAND_NUMBERS, KernelSpec
from .transpose import deinterleave, transpose

_ROWS = {
    "deinterleave": deinterleave,
    "tiles": deinterleave,
    "transpose": transpose,
    "contiguous_segments": contiguous_segments,
    "strided_segments": strided_segments,
    "lines": lines,
    "windows": windows,
}


def source_text(spec: KernelSpec, vector: int, pause: Callable[[], object] = lambda: None, native: bool = False) -> str:
    """The kernel of a spec, with vectors of so many bytes, as the text that LLVM parses.

    >>> "shufflevector" in source_text(KernelSpec(True, 4, False, "deinterleave", 2, 0, False, (), 0), 32)
    True

    Args:
        spec, vector: what is compiled.
        pause: called now and then, so that other threads of Python get their turn.
        native: the processor rounds to bfloat16.
    """
    module = Module(pause)
    run = module.function(
        "run", "void", [POINTER, POINTER, POINTER, I64, I64], internal=True, once=spec.computed is not None
    )
    _Nest(run, spec, vector, native).write()
    write_whole(module, run)
    write_join(module, write_share(module, write_pieces(module, run)))
    return module.text()


class _Nest:
    """The loops around the rows."""

    def __init__(self, code: Code, spec: KernelSpec, vector: int, native: bool) -> None:
        self.code, self.spec = code, spec
        self.space, self.batch, self.numbers, self.begin, self.end = code.arguments
        self.read = 0  # how many of the numbers
        base = self._next(HEAD_NUMBERS)[-1]
        self.computing = None
        if spec.computed is not None:
            result = self.batch if spec.to_batch else self.space
            self.computing = Computing(code, spec.computed, result, self._next(OPERAND_NUMBERS), native)
        self.space = code.at(self.space, base)
        self.loops = [self._next(LOOP_NUMBERS + (self.computing is not None)) for _ in spec.axes]
        self.borders = [self._next(BORDER_NUMBERS[spec.wrapped]) for _ in range(spec.borders)]
        copies = spec.computed is not None and spec.computed.copies > 1
        copy_step = self._next(1)[0] if copies else None
        segments = Segments(code, spec, vector, code.at(self.numbers, const(8)), self.computing, copy_step)
        self.row = _ROWS[spec.row](segments, self._next)

    def _next(self, count: int) -> list[Value]:
        found = [self.code.number(self.numbers, self.read + k) for k in range(count)]
        self.read += count
        return found

    def write(self) -> None:
        """Steps begin to end."""
        code, loops = self.code, self.loops
        places = [const(0)] * (self.spec.borders + 1)  # the last one is a row's own, where a loop moves it
        with code.loop(self.begin, self.end) as step:
            indices = [step][: len(loops)]
            if len(loops) >= 2:
                first = code.div(step, loops[1][0])
                indices = [first, code.sub(step, code.mul(first, loops[1][0]))]
            state = (self.space, self.batch, places, const(0))
            for k, index in enumerate(indices):
                state = self._stepped(state, k, index)
            self._walk(len(indices), state)
        if self.spec.stream:
            code.fence()  # others may read what non-temporal stores wrote
        code.result()

    def _stepped(self, state: Any, k: int, index: Value) -> Any:
        """Pointers, places and the channel at an index of a loop."""
        code = self.code
        space, batch, places, channel = state
        _, space_step, batch_step, place_step, *channel_step = self.loops[k]
        axis = self.spec.axes[k]
        if axis >= 0:
            places = list(places)
            places[axis] = code.add(places[axis], code.mul(index, place_step))
        if channel_step:
            channel = code.add(channel, code.mul(index, channel_step[0]))
        return code.at(space, code.mul(index, space_step)), code.at(batch, code.mul(index, batch_step)), places, channel

    def _walk(self, k: int, state: Any) -> None:
        """Loop number k and those inside it, around the rows."""
        code = self.code
        if k < len(self.loops):
            with code.loop(const(0), self.loops[k][0]) as index:
                self._walk(k + 1, self._stepped(state, k, index))
            return
        space, batch, places, channel = state
        if self.computing is not None:
            self.computing.channel = channel
        copy, fill = self.row
        inside = None
        for place, (before, covered, *head) in zip(places[:-1], self.borders, strict=True):
            here = code.inside(code.sub(place, before), covered)
            if head:
                early = code.less(place, head[0])
                space = code.at(space, code.select(early, head[1], const(0)))
                here = code.any(here, early)
            inside = here if inside is None else code.both(inside, here)
        if inside is None or not self.spec.gaps:
            copy(space, batch, places[-1])
        elif self.spec.to_batch:
            with code.either(inside) as (then, otherwise):
                with then:
                    copy(space, batch, places[-1])
                with otherwise:
                    fill(batch)
        else:
            with code.when(inside):
                copy(space, batch, places[-1])
