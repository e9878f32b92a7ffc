"""The kernel of a kind, for both operators, in LLVM's intermediate language.

    whole(space, batch, numbers)     a call
    share(job, first, spins)         some of it: chunks of steps from a range of one's own, then from the others', until none is left
    join(job)                        the same, from the next range that nobody began with

Both run loops over everything but the rows; a step is one turn of the two outermost loops. A row is what lies along the
innermost blocked dim. Every offset is linear in the loops' indices. A bordered dim has a place u in padded space, and a row is
copied where 0 <= u - before < covered holds for all of them; else it is filled with the pad value (to the batch) or left out (to
space). `plan.Row` tells the sorts of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from .emit import I64, POINTER, Code, const
from .lanes import put_together, taken_apart
from .plan import HEAD_NUMBERS, LOOP_NUMBERS, Kind

Value = Any
Body = Callable[[Value, int], None]

# What `share` is given, an int64 each; then, for each range, the step that follows and the one past its end.
JOB = ("space", "batch", "numbers", "chunk", "done", "joined", "ranges")


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
    _Kernel(Code(run), kind, run.args).write()
    _write_whole(Code(ir.Function(module, ir.FunctionType(nothing, [POINTER] * 3), "whole")), run)
    share = ir.Function(module, ir.FunctionType(I64, [POINTER, I64, I64]), "share")
    _write_share(Code(share), run)
    _write_join(Code(ir.Function(module, ir.FunctionType(nothing, [POINTER]), "join")), share)
    return str(module)


def _write_whole(code: Code, run: Value) -> None:
    space, batch, numbers = code.function.args
    code.builder.call(run, [space, batch, numbers, const(0), code.number(numbers, 0)])
    code.builder.ret_void()


def _write_share(code: Code, run: Value) -> None:
    """Chunks as long as there are some, then a short wait for the others': 1 if all are done, else 0."""
    b = code.builder
    job, first, spins = code.function.args
    place = {name: k for k, name in enumerate(JOB)}
    space, batch, numbers = (
        b.inttoptr(code.number(job, place[name]), POINTER) for name in ("space", "batch", "numbers")
    )
    steps, chunk, ranges = code.number(numbers, 0), code.number(job, place["chunk"]), code.number(job, place["ranges"])
    done = b.gep(job, [const(place["done"])], source_etype=I64)
    with code.loop(const(0), ranges) as turn:
        which = b.urem(code.add(first, turn), ranges)
        own = b.gep(job, [code.add(const(len(JOB)), code.mul(which, 2))], source_etype=I64)
        stop = code.number(own, 1)
        take, work, out = (code.function.append_basic_block(name) for name in ("take", "work", "out"))
        b.branch(take)
        b.position_at_end(take)
        begin = b.atomic_rmw("add", own, chunk, "acq_rel")
        b.cbranch(b.icmp_signed("<", begin, stop), work, out)
        b.position_at_end(work)
        end = code.least(code.add(begin, chunk), stop)
        b.call(run, [space, batch, numbers, begin, end])
        b.atomic_rmw("add", done, code.sub(end, begin), "acq_rel")
        b.branch(take)
        b.position_at_end(out)
    wait, again, over = (code.function.append_basic_block(name) for name in ("wait", "again", "over"))
    before = b.block
    b.branch(wait)
    b.position_at_end(wait)
    spin = b.phi(I64)
    spin.add_incoming(const(0), before)
    finished = b.icmp_signed(">=", b.load_atomic(done, "acquire", 8, typ=I64), steps)
    b.cbranch(b.or_(finished, b.icmp_signed(">=", spin, spins)), over, again)
    b.position_at_end(again)
    spin.add_incoming(b.add(spin, const(1)), again)
    b.branch(wait)
    b.position_at_end(over)
    b.ret(b.zext(finished, I64))


def _write_join(code: Code, share: Value) -> None:
    b = code.builder
    (job,) = code.function.args
    joined = b.gep(job, [const(JOB.index("joined"))], source_etype=I64)
    b.call(share, [job, b.atomic_rmw("add", joined, const(1), "acq_rel"), const(0)])
    b.ret_void()


class _Kernel:
    def __init__(self, code: Code, kind: Kind, arguments: Any) -> None:
        self.code, self.kind = code, kind
        self.space, self.batch, self.numbers, self.begin, self.end = arguments
        self.word = ir.IntType(8 * kind.word)
        self.read = 0  # how many of the numbers
        self.steps, first, second, self.base = self._next(HEAD_NUMBERS)
        del first, second
        pad = code.at(self.numbers, const(8))
        pattern = ir.VectorType(ir.IntType(8), 16)
        self.pattern = code.load(pad, pattern)
        self.pad_word = code.load(pad, self.word)
        repeated = [k % 16 for k in range(kind.vector)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), kind.vector), repeated)
        self.pad_vector = code.builder.shuffle_vector(self.pattern, self.pattern, mask)

    def write(self) -> None:
        code = self.code
        loops = [self._next(LOOP_NUMBERS) for _ in self.kind.axes]
        self.borders = [self._next(2) for _ in range(self.kind.borders)]
        self.row = {
            "lanes": self._lanes_row,
            "tiles": self._lanes_row,
            "squares": self._squares_row,
            "windows": self._windows_row,
            "pixels": self._pixels_row,
        }[self.kind.row]()
        space = code.at(self.space, self.base)
        places = [const(0)] * (self.kind.borders + 1)  # the last one is a row's own, where a loop moves it
        with code.loop(self.begin, self.end) as step:
            if len(loops) >= 2:
                first = code.div(step, loops[1][0])
                indices = [first, code.sub(step, code.mul(first, loops[1][0]))]
            else:
                indices = [step][: len(loops)]
            state = (space, self.batch, places)
            for k, index in enumerate(indices):
                state = self._stepped(state, loops[k], k, index)
            self._nest(loops, len(indices), state)
        if self.kind.stream:
            code.builder.fence("seq_cst")  # others may read what was written past the cache
        code.builder.ret_void()

    def _store(self, value: Value, target: Value, width: int) -> None:
        if self.kind.stream and width == self.kind.vector:
            self.code.stream(value, target, width)
        else:
            self.code.store(value, target)

    def _next(self, count: int) -> list[Value]:
        found = [self.code.number(self.numbers, self.read + k) for k in range(count)]
        self.read += count
        return found

    def _stepped(self, state: Any, loop: list[Value], k: int, index: Value) -> Any:
        """Pointers and places at an index of a loop."""
        code = self.code
        space, batch, places = state
        _, space_step, batch_step, place_step = loop
        axis = self.kind.axes[k]
        if axis >= 0:
            places = list(places)
            places[axis] = code.add(places[axis], code.mul(index, place_step))
        return code.at(space, code.mul(index, space_step)), code.at(batch, code.mul(index, batch_step)), places

    def _nest(self, loops: list[list[Value]], k: int, state: Any) -> None:
        code = self.code
        if k < len(loops):
            with code.loop(const(0), loops[k][0]) as index:
                self._nest(loops, k + 1, self._stepped(state, loops[k], k, index))
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

    # ---- an interleaved row of neighbours

    def _lanes_row(self) -> Any:
        code, kind = self.code, self.kind
        outers, before, covered, phase_step, block, stretch = self._next(6)
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
                            code.store(code.load(source, self.word), target)
                        with otherwise:
                            code.store(self.pad_word, target)
                else:
                    with code.when(inside):
                        code.store(code.load(target, self.word), source)

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
            body = self._tile if kind.row == "tiles" else self._lanes
            self._levels(
                code.sub(high, low), kind.positions, lambda i, size: body(here, there, phase_step, block, i, size)
            )

        def fill(batch: Value) -> None:
            with code.loop(const(0), block) as p:
                self._fill(code.at(batch, code.mul(p, phase_step)), code.mul(outers, word))

        return copy, fill

    def _levels(self, count: Value, size: int, body: Body) -> None:
        """The body for every size of count positions; what is left by one that overlaps, or, where all is too short, smaller."""
        code = self.code
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
                self._levels(count, size // 4 if size >= 16 else 1, body)

    def _lanes(self, space: Value, batch: Value, phase_step: Value, _: Value, i: Value, size: int) -> None:
        """`size` positions of all phases."""
        code, block, word = self.code, self.kind.block, self.kind.word
        vector = ir.VectorType(self.word, size) if size > 1 else self.word
        here = code.at(space, code.mul(i, block * word))
        there = code.at(batch, code.mul(i, word))
        near = [code.at(here, const(k * size * word)) for k in range(block)]
        far = [code.at(there, code.mul(phase_step, p)) for p in range(block)]
        sources, targets = (near, far) if self.kind.to_batch else (far, near)
        moved = [code.load(source, vector) for source in sources]
        if size > 1:
            moved = (taken_apart if self.kind.to_batch else put_together)(code.builder, moved, size)
        for value, target in zip(moved, targets, strict=True):
            self._store(value, target, size * word)

    def _tile(self, space: Value, batch: Value, phase_step: Value, block: Value, i: Value, size: int) -> None:
        """`size` positions of all phases."""
        code, word = self.code, self.kind.word
        row = code.mul(block, word)
        here, there = code.at(space, code.mul(i, row)), code.at(batch, code.mul(i, word))
        self._squares(here, there, row, phase_step, block, size)

    def _squares(
        self, space: Value, batch: Value, row_step: Value, phase_step: Value, phases: Value, size: int
    ) -> None:
        """`size` positions, a row of space each, of so many phases: squares, transposed, and single words where they do not fit."""
        code, word = self.code, self.kind.word
        vector = ir.VectorType(self.word, size) if size > 1 else self.word

        def square(p: Value) -> None:
            near, far = code.at(space, code.mul(p, word)), code.at(batch, code.mul(p, phase_step))
            rows = [code.at(near, code.mul(row_step, k)) for k in range(size)]
            lines = [code.at(far, code.mul(phase_step, k)) for k in range(size)]
            sources, targets = (rows, lines) if self.kind.to_batch else (lines, rows)
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
                self._squares(here, there, row_step, phase_step, phases, 1)

    # ---- neighbours in space that are far apart in the batch tensor, and the other way round

    def _squares_row(self) -> Any:
        code, kind = self.code, self.kind
        positions, phases, before, covered, row_step, phase_step = self._next(6)

        def copy(space: Value, batch: Value, _: Value) -> None:
            low, count = const(0), phases
            if kind.bordered:
                low, count = before, covered
                if kind.to_batch:
                    self._fill_lines(batch, const(0), low, phase_step, positions)
                    self._fill_lines(batch, code.add(low, count), phases, phase_step, positions)
            here, there = code.at(space, code.mul(low, kind.word)), code.at(batch, code.mul(low, phase_step))

            def body(i: Value, size: int) -> None:
                near, far = code.at(here, code.mul(i, row_step)), code.at(there, code.mul(i, kind.word))
                self._squares(near, far, row_step, phase_step, count, size)

            self._levels(positions, kind.positions, body)

        def fill(batch: Value) -> None:
            self._fill_lines(batch, const(0), phases, phase_step, positions)

        return copy, fill

    def _fill_lines(self, batch: Value, start: Value, stop: Value, step: Value, positions: Value) -> None:
        self._fill_runs(batch, start, stop, step, self.code.mul(positions, self.kind.word))

    # ---- rows of long runs

    def _windows_row(self) -> Any:
        code, kind = self.code, self.kind
        extent, before, covered, unit = self._next(4)
        whole = code.mul(extent, unit)

        def copy(space: Value, batch: Value, start: Value) -> None:
            low, high = const(0), whole
            if kind.bordered:
                low = code.mul(code.clamp(code.sub(before, start), extent), unit)
                high = code.mul(code.clamp(code.sub(code.add(before, covered), start), extent), unit)
                if kind.to_batch:
                    self._fill(batch, low)
                    self._fill(code.at(batch, high), code.sub(whole, high))
            source, target = code.at(space, low), code.at(batch, low)
            if not kind.to_batch:
                source, target = target, source
            self._copy(target, source, kind.run or code.sub(high, low))

        def fill(batch: Value) -> None:
            self._fill(batch, whole)

        return copy, fill

    # ---- interleaved rows of runs

    def _pixels_row(self) -> Any:
        """Of one phase, which the loops choose: its place is that of the last bordered dim."""
        code, kind = self.code, self.kind
        outers, extent, before, covered, space_step, batch_step, unit = self._next(7)
        run = kind.run or unit

        def copy(space: Value, batch: Value, phase: Value) -> None:
            low, high = const(0), outers
            if kind.bordered:
                low = code.least(code.ceil_div(code.sub(before, phase), extent), outers)
                past = code.ceil_div(code.sub(code.add(before, covered), phase), extent)
                high = code.most(code.least(past, outers), low)
                if kind.to_batch:
                    self._fill_runs(batch, const(0), low, batch_step, unit)
                    self._fill_runs(batch, high, outers, batch_step, unit)
            with code.loop(low, high) as o:
                pair = code.at(space, code.mul(o, space_step)), code.at(batch, code.mul(o, batch_step))
                source, target = pair if kind.to_batch else pair[::-1]
                self._copy(target, source, run)

        def fill(batch: Value) -> None:
            self._fill_runs(batch, const(0), outers, batch_step, unit)

        return copy, fill

    def _fill_runs(self, batch: Value, start: Value, stop: Value, step: Value, unit: Value) -> None:
        with self.code.loop(start, stop) as o:
            self._fill(self.code.at(batch, self.code.mul(o, step)), unit)

    # ---- runs of memory

    def _copy(self, target: Value, source: Value, count: Value | int) -> None:
        """Copy bytes between runs that do not overlap."""
        if isinstance(count, int):
            self._copy_known(target, source, count)
            return
        code, width = self.code, self.kind.vector

        def rest(width: int) -> None:
            if width == 1:
                with code.when(code.builder.icmp_signed(">", count, const(0))):
                    self._move(target, source, const(0), 1)
                return
            with code.either(code.builder.icmp_signed(">=", count, const(width))) as (then, otherwise):
                with then:
                    self._move(target, source, const(0), width)
                    self._move(target, source, code.sub(count, const(width)), width)
                with otherwise:
                    rest(width // 2)

        with code.either(code.builder.icmp_signed(">=", count, const(width))) as (then, otherwise):
            with then:
                last = code.sub(count, const(width))
                with code.loop(const(0), last, width) as offset:
                    self._move(target, source, offset, width)
                self._move(target, source, last, width)
            with otherwise:
                rest(width // 2)

    def _copy_known(self, target: Value, source: Value, count: int) -> None:
        width = min(self.kind.vector, 1 << (count.bit_length() - 1))
        offsets = [*range(0, count - width + 1, width)]
        if count % width:
            offsets.append(count - width)
        for offset in offsets:
            self._move(target, source, const(offset), width)

    def _move(self, target: Value, source: Value, offset: Value, width: int) -> None:
        kind = ir.VectorType(ir.IntType(8), width) if width > 8 else ir.IntType(8 * width)
        self._store(self.code.load(self.code.at(source, offset), kind), self.code.at(target, offset), width)

    def _fill(self, target: Value, count: Value) -> None:
        """Fill bytes with the pad value; their number is a multiple of a word, or of 16 where elements have that many."""
        code, width = self.code, self.kind.vector
        whole = code.sub(count, code.builder.urem(count, const(width)))
        with code.loop(const(0), whole, width) as offset:
            code.store(self.pad_vector, code.at(target, offset))
        step = 16 if self.kind.pair else self.kind.word
        value = self.pattern if self.kind.pair else self.pad_word
        with code.loop(whole, count, step) as offset:
            code.store(value, code.at(target, offset))
