"""Programs of a launch in execution: all threads of many programs at once, arrays of [program, thread].

Threads that part at a branch go on one block at a time, those that are behind first. A register that was never written
holds rubbish.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .arithmetic import UNSIGNED, Array
from .memory import Memory
from .program import KernelError, Program, UnknownCodeError
from .shared import SharedMemory
from .traffic import WARP
from .translate import Step, translated

TOGETHER = 1 << 14  # threads
MOST_BLOCKS = 10_000  # that are gone through


class Launch(NamedTuple):
    """What the driver is asked to run; `arguments` holds eight bytes for each parameter."""

    program: Program
    arguments: bytes
    programs: int
    threads: int
    shared: int


def execute(launch: Launch, memory: Memory, seed: int = 0, chosen: Array | None = None) -> int:
    """Run all programs of a launch, or those chosen; how many instructions warps issued.

    Raises:
        KernelError: what a GPU would refuse, or what depends on luck.
    """
    program = launch.program
    if program.threads not in (None, launch.threads):
        raise KernelError(f"{launch.threads} threads for a kernel of {program.threads}")
    for name, parameter in program.parameters.items():
        value = int.from_bytes(launch.arguments[program.offset(name) :][:8], "little")
        if value % parameter.alignment:
            raise KernelError(f"{name} is promised to be a multiple of {parameter.alignment}, and is {value:#x}")
    numbers = np.arange(launch.programs) if chosen is None else chosen
    at_once = max(1, TOGETHER // launch.threads)
    parts = np.split(numbers, range(at_once, len(numbers), at_once))
    return sum(Machine(launch, memory, part, seed + n).run() for n, part in enumerate(parts))


@lru_cache(maxsize=256)
def _steps(program: Program) -> list[list[Step]]:
    return translated(program)


class Machine:
    """Some programs of one launch, of these numbers."""

    def __init__(self, launch: Launch, memory: Memory, numbers: Array, seed: int) -> None:
        self.program, self._memory, self._numbers = launch.program, memory, numbers
        self._shape = len(numbers), launch.threads
        self._random = np.random.default_rng(seed)
        base = 16 * int(self._random.integers(0, 128))
        self.shared = SharedMemory(len(numbers), launch.shared, base, self._random)
        self._arguments = np.frombuffer(launch.arguments, np.uint8)
        one = np.ones((1, 1), np.uint32)
        thread = np.arange(launch.threads, dtype=np.uint32)[None, :]
        self.special = {f"%{name}.{axis}": one * 0 for name in ("tid", "ctaid") for axis in "yz"}
        self.special |= {f"%{name}.{axis}": one for name in ("ntid", "nctaid") for axis in "yz"}
        self.special |= {"%tid.x": thread, "%laneid": thread % np.uint32(WARP)}
        self.special |= {"%ctaid.x": numbers.astype(np.uint32)[:, None], "%nctaid.x": one * np.uint32(launch.programs)}
        self.special |= {"%ntid.x": one * np.uint32(launch.threads)}
        self._registers: dict[str, Array] = {}
        self._warp = np.broadcast_to((np.arange(launch.threads) // WARP).astype(np.int32), self._shape)
        self._row = np.broadcast_to(np.arange(len(numbers))[:, None], self._shape)
        self._active: Array | None = None  # None: all threads
        self._left = np.zeros(self._shape, bool)
        self._block = np.zeros(self._shape, np.int32)  # where each thread goes on
        self._instruction = launch.program.blocks[0][0]  # for messages

    def run(self) -> int:
        """To the end of all threads; how many instructions warps issued.

        Raises:
            KernelError: with the instruction at which it came to light.
        """
        blocks, steps = self.program.blocks, _steps(self.program)
        issued = 0
        try:
            with np.errstate(over="ignore"):
                for _ in range(MOST_BLOCKS):
                    if self._left.all():
                        return issued
                    block = int(self._block[~self._left].min())
                    if block >= len(blocks):
                        raise KernelError("the code ends without a return")
                    active = (self._block == block) & ~self._left
                    self._active = None if active.all() else active
                    issued += len(blocks[block]) * int(active.reshape(len(active), -1, WARP).any(axis=2).sum())
                    self._block[active] = block + 1
                    for self._instruction, step in zip(blocks[block], steps[block], strict=True):
                        step(self)
                raise KernelError("no end")
        except KernelError as fault:
            raise type(fault)(f"{fault}, at {self._instruction.text!r} of {self.program.name}") from None

    # Control

    def active(self, guard: Array | None) -> Array:
        """Which threads execute an instruction with this guard."""
        if guard is None:
            return np.ones(self._shape, bool) if self._active is None else self._active
        wide = np.broadcast_to(guard, self._shape)
        return wide if self._active is None else wide & self._active

    def branch(self, block: int, guard: Array | None) -> None:
        """Threads go on there."""
        self._block[self.active(guard)] = block

    def leave(self, guard: Array | None) -> None:
        """Threads end."""
        self._left = self._left | self.active(guard)

    def barrier(self) -> None:
        """All threads of a program meet."""
        active = self.active(None)
        waiting = active.any(axis=1)
        if not active[waiting].all():
            raise KernelError("a barrier that not all threads reach")
        self.shared.barrier(np.asarray(waiting))

    # Registers

    def read(self, register: str) -> Array:
        """Its value in all threads, or in one for all."""
        value = self._registers.get(register)
        if value is None:
            bits = self.program.bits(register)
            rubbish = self._random.integers(0, 2**64, self._shape, dtype=np.uint64)
            value = (rubbish & np.uint64(1)).astype(bool) if bits == 1 else rubbish.astype(UNSIGNED[bits])
            self._registers[register] = value
        return value

    def write(self, register: str, value: Array, guard: Array | None) -> None:
        """In the threads that execute the instruction."""
        if guard is not None or self._active is not None:
            value = np.where(self.active(guard), value, self.read(register))
        self._registers[register] = value

    def argument(self, offset: int, bits: int) -> Array:
        """Of the launch."""
        return self._arguments[offset : offset + bits // 8].copy().view(UNSIGNED[bits]).reshape(1, 1)

    def divisor(self, value: Array, guard: Array | None) -> Array:
        """A number to divide by, with ones for the zeros of threads that do not."""
        if (np.broadcast_to(value, self._shape) == 0)[self.active(guard)].any():
            raise KernelError("a division by zero")
        return np.where(value == 0, value.dtype.type(1), value)

    def shuffle(self, mode: str, value: Array, by: Array, bounds: Array, members: Array) -> Array:
        """Each lane's value from another lane of its warp."""
        if self._active is not None or (members != np.uint32(0xFFFFFFFF)).any():
            raise UnknownCodeError("a shuffle of some lanes")
        warps = (self._shape[0], -1, WARP)
        value, by, bounds = (np.broadcast_to(x, self._shape).reshape(warps) for x in (value, by, bounds))
        lane, by, bounds = np.arange(WARP), (by & np.uint32(31)).astype(np.int64), bounds.astype(np.int64)
        segment, bound = bounds >> 8 & 31, bounds & 31
        low, high = lane & segment, lane & segment | bound & ~segment
        source = {"idx": low | by & ~segment, "bfly": lane ^ by, "up": lane - by, "down": lane + by}[mode]
        source = np.where(source >= high if mode == "up" else source <= high, source, lane)
        return np.take_along_axis(value, source, axis=2).reshape(self._shape)

    # Memory

    def load_global(self, address: Array, count: int, bits: int, guard: Array | None) -> list[Array]:
        """`count` numbers of each thread, side by side; zeros in those that do not execute."""
        active, flat = self._asked(address, guard, False)
        found = [np.zeros(flat.shape, UNSIGNED[bits])] * count
        if flat.size:
            found = self._memory.find(flat, count * bits // 8, False).load(flat, count, bits)
        return [self._spread(values, active) for values in found]

    def store_global(self, address: Array, values: Sequence[Array], bits: int, guard: Array | None) -> None:
        """Numbers of each thread, side by side."""
        active, flat = self._asked(address, guard, True)
        if flat.size:
            buffer = self._memory.find(flat, len(values) * bits // 8, True)
            buffer.store(flat, self._picked(values, active), bits, self._numbers[self._row[active]])

    def load_shared(self, address: Array, count: int, bits: int, guard: Array | None) -> list[Array]:
        """As `load_global`."""
        active = self.active(guard)
        flat = np.broadcast_to(address, self._shape)[active].astype(np.int64)
        found = self.shared.load(self._row[active], self._warp[active], flat, count, bits)
        return [self._spread(values, active) for values in found]

    def store_shared(self, address: Array, values: Sequence[Array], bits: int, guard: Array | None) -> None:
        """As `store_global`."""
        active = self.active(guard)
        flat = np.broadcast_to(address, self._shape)[active].astype(np.int64)
        self.shared.store(self._row[active], self._warp[active], flat, self._picked(values, active), bits)

    def load_matrices(self, address: Array, count: int, transposed: bool) -> list[Array]:
        """`ldmatrix`: matrices of 8 rows of 8 numbers of 16 bits; a thread gets two neighbours of each."""
        found = np.stack(self.shared.load(*self._matrix_rows(address, count), 8, 16), axis=-1)
        found = found.reshape(self._shape[0], -1, count, 8, 8)
        found = (found.swapaxes(-1, -2) if transposed else found).reshape(*found.shape[:3], WARP, 2).astype(np.uint32)
        pairs = found[..., 0] | found[..., 1] << np.uint32(16)
        return [pairs[:, :, matrix].reshape(self._shape) for matrix in range(count)]

    def store_matrices(self, address: Array, values: Sequence[Array], transposed: bool) -> None:
        """`stmatrix`, the inverse."""
        warps = (self._shape[0], -1, WARP)
        pairs = np.stack([np.broadcast_to(value, self._shape).reshape(warps) for value in values], axis=2)
        data = np.stack([pairs & np.uint32(0xFFFF), pairs >> np.uint32(16)], axis=-1).astype(np.uint16)
        data = data.reshape(*pairs.shape[:3], 8, 8)
        data = (data.swapaxes(-1, -2) if transposed else data).reshape(-1, 8)
        self.shared.store(*self._matrix_rows(address, len(values)), list(data.T), 16)

    def _matrix_rows(self, address: Array, count: int) -> tuple[Array, Array, Array]:
        """Program, warp and address of each row of 16 bytes; the first 8 * `count` threads of a warp name them."""
        if self._active is not None:
            raise UnknownCodeError("an access to matrices by some threads")
        named = np.broadcast_to(np.arange(self._shape[1]) % WARP < 8 * count, self._shape)
        return self._row[named], self._warp[named], np.broadcast_to(address, self._shape)[named].astype(np.int64)

    def _asked(self, address: Array, guard: Array | None, write: bool) -> tuple[Array, Array]:
        active = self.active(guard)
        wide = np.broadcast_to(address, self._shape).astype(np.int64)
        if self._memory.traffic:
            self._memory.traffic[write].add(wide, active, self._numbers)
        return active, wide[active]

    def _picked(self, values: Sequence[Array], active: Array) -> list[Array]:
        return [np.broadcast_to(value, self._shape)[active] for value in values]

    def _spread(self, values: Array, active: Array) -> Array:
        result = np.zeros(self._shape, values.dtype)
        result[active] = values
        return result
