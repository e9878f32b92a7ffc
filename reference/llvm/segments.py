"""Segments of memory: copied in vectors, filled with the pad value."""

from __future__ import annotations

from .emit import Code, Value, const, integer, vector
from .spec import KernelSpec

TOGETHER = 4  # vectors of a long segment; one at a time took a fifth longer for segments of 512 bytes


class Segments:
    """What all rows of a kernel do to memory.

    Attributes:
        code: the function under construction. spec: of the kernel. vector: bytes of a vector.
        word: LLVM's type of a word. pad_word: the pad value as one.
    """

    def __init__(self, code: Code, spec: KernelSpec, vector_bytes: int, pad: Value) -> None:
        """`pad` points to the 16 bytes of the pad value, repeated."""
        self.code, self.spec, self.vector = code, spec, vector_bytes
        self.word = integer(spec.word)
        self.pad_word = code.load(pad, self.word)
        self._pattern = code.load(pad, vector("i8", 16))
        self._pad_vector = code.shuffle(self._pattern, self._pattern, [k % 16 for k in range(vector_bytes)])

    def store(self, value: Value, target: Value, width: int) -> None:
        """Store so many bytes, non-temporally where the spec says so and they are a whole vector."""
        if self.spec.stream and width == self.vector:
            self.code.store_non_temporal(value, target, width)
        else:
            self.code.store(value, target)

    def copy(self, target: Value, source: Value, count: Value | int) -> None:
        """Copy bytes between segments that do not overlap."""
        if isinstance(count, int):
            self._copy_known(target, source, count)
            return
        code, width = self.code, self.vector

        def rest(width: int) -> None:
            if width == 1:
                with code.when(code.less(const(0), count)):
                    self._move(target, source, const(0), 1)
                return
            with code.either(code.at_least(count, const(width))) as (then, otherwise):
                with then:
                    self._move(target, source, const(0), width)
                    self._move(target, source, code.sub(count, const(width)), width)
                with otherwise:
                    rest(width // 2)

        def vectors(together: int) -> None:
            length = together * width
            with code.either(code.at_least(count, const(length))) as (then, otherwise):
                with then:
                    last = code.sub(count, const(length))
                    with code.loop(const(0), last, length) as offset:
                        self._move_several(target, source, offset, together)
                    self._move_several(target, source, last, together)
                with otherwise:
                    if together > 1:
                        vectors(1)
                    else:
                        rest(width // 2)

        vectors(TOGETHER)

    def _copy_known(self, target: Value, source: Value, count: int) -> None:
        width = min(self.vector, 1 << (count.bit_length() - 1))
        offsets = [*range(0, count - width + 1, width)]
        if count % width:
            offsets.append(count - width)
        for offset in offsets:
            self._move(target, source, const(offset), width)

    def _move_several(self, target: Value, source: Value, offset: Value, count: int) -> None:
        width = self.vector
        places = [self.code.add(offset, const(k * width)) for k in range(count)]
        moved = [self.code.load(self.code.at(source, place), vector("i8", width)) for place in places]
        for value, place in zip(moved, places, strict=True):
            self.store(value, self.code.at(target, place), width)

    def _move(self, target: Value, source: Value, offset: Value, width: int) -> None:
        kind = vector("i8", width) if width > 8 else integer(width)
        self.store(self.code.load(self.code.at(source, offset), kind), self.code.at(target, offset), width)

    def fill(self, target: Value, count: Value) -> None:
        """Fill bytes with the pad value; their number is a multiple of a word, or of 16 where elements have that many."""
        code, width = self.code, self.vector
        whole = code.sub(count, code.rest(count, width))
        with code.loop(const(0), whole, width) as offset:
            code.store(self._pad_vector, code.at(target, offset))
        step, value = (16, self._pattern) if self.spec.pair else (self.spec.word, self.pad_word)
        with code.loop(whole, count, step) as offset:
            code.store(value, code.at(target, offset))

    def fill_each(self, target: Value, start: Value, stop: Value, step: Value, count: Value) -> None:
        """Fill the segments number start to stop, `step` bytes apart."""
        with self.code.loop(start, stop) as k:
            self.fill(self.code.at(target, self.code.mul(k, step)), count)
