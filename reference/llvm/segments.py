"""Segments of memory: copied in vectors, filled with the pad value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .computing import Computing, Part
from .emit import Code, Value, const, integer, vector
from .spec import EXACT, MOST_AT_ONCE, KernelSpec

# What is computed of so many parts of a row, or of a long formula, is a loop, which takes a tenth of the time to compile.
MANY_PARTS = 6
MANY_PARTS_OF_A_FORMULA = 3
TOGETHER = 4  # vectors of a long segment; one at a time took a fifth longer for segments of 512 bytes


class Segments:
    """What all rows of a kernel do to memory.

    Attributes:
        code: the function under construction. spec: of the kernel. vector: bytes of a vector.
        word: LLVM's type of a word of the source. near, far: bytes of a word in space and in the batch tensor.
        computing: the arithmetic on the way, if there is some. Then lengths of segments count elements, and else bytes.
    """

    def __init__(
        self,
        code: Code,
        spec: KernelSpec,
        vector_bytes: int,
        pad: Value,
        computing: Computing | None = None,
        copy_step: Value | None = None,
    ) -> None:
        """
        Args:
            pad: points to the 16 bytes of the pad value, repeated.
            copy_step: bytes from a result to its next copy, where there are several.
        """
        self.code, self.spec, self.vector, self.computing = code, spec, vector_bytes, computing
        self._copy_step = copy_step
        self.near, self.far = spec.words
        self.word = integer(spec.word)
        self._result = self.far if spec.to_batch else self.near  # bytes of a word
        self._pad_word = code.load(pad, integer(self._result))
        self._pattern = code.load(pad, vector("i8", 16))
        self._pad_vector = code.shuffle(self._pattern, self._pattern, [k % 16 for k in range(vector_bytes)])

    def in_space(self, pointer: Value, length: Value) -> Value:
        """What is so far on in a segment in space."""
        return self._at(pointer, length, self.near)

    def in_batch(self, pointer: Value, length: Value) -> Value:
        """What is so far on in a segment in the batch tensor."""
        return self._at(pointer, length, self.far)

    def _at(self, pointer: Value, length: Value, word: int) -> Value:
        if self.computing is not None and word > 1:
            length = self.code.mul(length, word)
        return self.code.at(pointer, length)

    def put(self, words: Value, target: Value, count: int, at: Value | None = None, along: bool = False) -> None:
        """Store so many words of the source, and compute before that where there is arithmetic.

        Args:
            at, along: where the channels are of what goes to the target; see `Computing.table`.
        """
        if self.computing is not None:
            self.put_all([Part(words, target, at)], count, along)
            return
        self.store(words, target, count * self._result)

    def put_all(self, parts: Sequence[Part], count: int, along: bool) -> None:
        """Compute parts of so many words at once, and store them."""
        assert self.computing is not None
        for part, words in zip(parts, self.computing(parts, along), strict=True):
            self.store(words, part.target, count * self._result)
            for k in range(1, self.computing.spec.copies):
                assert self._copy_step is not None
                further = self.code.at(part.target, self.code.mul(self._copy_step, k))
                self.store(words, further, count * self._result)

    def put_each(self, parts: Sequence[Part], count: int, along: bool, step: Value, channel_step: int) -> None:
        """Compute parts of so many words one after the other, and store them; many by a loop over what is in memory meanwhile.

        Args:
            step: bytes from one target to the next. channel_step: how many channels are between them.
        """
        code = self.code
        assert self.computing is not None
        short = self.computing.spec.activation in EXACT
        if len(parts) < (MANY_PARTS if short else MANY_PARTS_OF_A_FORMULA):
            for part in parts:
                self.put_all([part], count, along)
            return
        first, (kind, _) = parts[0], parts[0].words
        room = code.memory(len(parts), kind)
        for k, part in enumerate(parts):
            code.store(part.words, code.at(room, const(k), kind))
        with code.loop(const(0), const(len(parts))) as number:
            at = None if first.at is None else code.add(first.at, code.mul(number, channel_step))
            words = code.load(code.at(room, number, kind), kind)
            self.put_all([Part(words, code.at(first.target, code.mul(number, step)), at)], count, along)

    def put_pad(self, target: Value, at: Value | None = None) -> None:
        """Store the pad value, of a channel if each has its own."""
        word = self._pad_word
        if self.computing is not None and self.computing.spec.pads:
            word = self.computing.pad(at, False, 1)
        self.code.store(word, target)

    def store(self, value: Value, target: Value, width: int) -> None:
        """Store so many bytes, non-temporally where the spec says so and they are whole vectors."""
        if self.spec.stream and width % self.vector == 0:
            self.code.store_non_temporal(value, target, self.vector)
        else:
            self.code.store(value, target)

    def copy(self, target: Value, source: Value, count: Value | int, roomy: bool = False) -> None:
        """Move between segments that do not overlap; so many bytes, or elements where there is arithmetic.

        Args:
            roomy: as many elements as the next power of two may be read and written.
        """
        if self.computing is not None:
            self._compute(self.computing, target, source, count, roomy)
            return
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
        for offset, width in known_pieces(count, self.vector):
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

    def levels(self, count: Value, size: int, body: Callable[[Value, int], None]) -> None:
        """The body for every size of count positions; what is left by one that overlaps, or, where all is too short, smaller."""
        code = self.code
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
                self.levels(count, size // 4 if size >= 16 else 1, body)

    def _compute(
        self, computing: Computing, target: Value, source: Value, count: Value | int, roomy: bool = False
    ) -> None:
        """Elements of a segment."""
        code, spec = self.code, self.spec
        channels = computing.spec.channels
        read, written = (self.near, self.far) if spec.to_batch else (self.far, self.near)
        along = channels in ("run", "cyclic")

        def part(i: Value, size: int) -> Part:
            at = None
            if along:
                at = code.rest(i, computing.period) if channels == "cyclic" else i
            words = code.load(code.at(source, code.mul(i, read)), vector(self.word, size))
            return Part(words, code.at(target, code.mul(i, written)), at)

        def body(i: Value, size: int) -> None:
            self.put_all([part(i, size)], size, along)

        most = min(MOST_AT_ONCE, self.vector // min(read, written))
        if not isinstance(count, int):
            self.levels(count, most, body)
            return
        pieces = known_pieces(count, most)
        size = pieces[0][1]
        step = 2 if len(pieces) == 2 and 2 * size <= most else 1  # two that overlap are one vector
        if step == 2 and roomy:
            body(const(0), 2 * size)
            return
        for k in range(0, len(pieces), step):
            self.put_all([part(const(offset), size) for offset, _ in pieces[k : k + step]], size, along)

    def fill(self, target: Value, count: Value, at: Value | None = None) -> None:
        """Fill a segment with the pad value: bytes, a multiple of a word, or of 16 where elements have that many, or elements.

        Args:
            at: the channel of all that is filled, where pad values have channels and these are phases.
        """
        code, width = self.code, self.vector
        if self.computing is not None:
            if self.computing.spec.pads:
                self._fill_channels(self.computing, target, count, at)
                return
            count = code.mul(count, self._result)
        whole = code.sub(count, code.rest(count, width))
        with code.loop(const(0), whole, width) as offset:
            code.store(self._pad_vector, code.at(target, offset))
        step, value = (16, self._pattern) if self.spec.pair else (self._result, self._pad_word)
        with code.loop(whole, count, step) as offset:
            code.store(value, code.at(target, offset))

    def fill_each(self, target: Value, start: Value, stop: Value, step: Value, count: Value) -> None:
        """Fill the segments number start to stop, `step` bytes apart."""
        with self.code.loop(start, stop) as k:
            self.fill(self.code.at(target, self.code.mul(k, step)), count)

    def _fill_channels(self, computing: Computing, target: Value, count: Value, at: Value | None) -> None:
        """Fill elements with the pad values of their channels."""
        code, channels = self.code, computing.spec.channels

        def body(i: Value, size: int) -> None:
            along = channels in ("run", "cyclic", "positions")
            place = code.rest(i, computing.period) if channels == "cyclic" else i if along else at
            code.store(computing.pad(place, along, size), code.at(target, code.mul(i, self._result)))

        self.levels(count, self.vector // self._result, body)


def known_pieces(count: int, most: int) -> list[tuple[int, int]]:
    """Offsets and sizes, all the same power of two, of what covers a known length; the last two may overlap.

    >>> known_pieces(14, 64), known_pieces(36, 16)
    ([(0, 8), (6, 8)], [(0, 16), (16, 16), (20, 16)])
    """
    size = min(most, 1 << (count.bit_length() - 1))
    offsets = [*range(0, count - size + 1, size)]
    if count % size:
        offsets.append(count - size)
    return [(offset, size) for offset in offsets]
