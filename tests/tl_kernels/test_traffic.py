"""The model of memory traffic, by hand: layouts, sectors and wavefronts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spacebatch.perf.addresses import Recorded
from spacebatch.perf.layouts import Access, Layout, accesses, layout
from spacebatch.perf.sectors import Requests, WarpAccesses, count
from spacebatch.perf.static import KernelCase
from spacebatch.perf.traffic import HEADER, Traffic, columns, spread, traffic
from spacebatch.perf.warps import requests, warp_accesses, widths

LANES = np.arange(32)[None, :]


def blocked(per_thread: list[int], threads: list[int], warps: list[int], order: list[int]) -> str:
    sizes = f"sizePerThread = {per_thread}, threadsPerWarp = {threads}, warpsPerCTA = {warps}, order = {order}"
    return f"#ttg.blocked<{{{sizes}}}>"


# elements as [register][lane][warp]
BY_HAND = {
    "registers, lanes, warps": (blocked([2], [2], [2], [0]), (8,), [[[0, 4], [2, 6]], [[1, 5], [3, 7]]]),
    "the tensor goes on": (blocked([1], [2], [1], [0]), (8,), [[[0], [1]], [[2], [3]], [[4], [5]], [[6], [7]]]),
    "the tensor is smaller": (blocked([4], [2], [2], [0]), (4,), [[[0, 0], [0, 0]], [[1, 1], [1, 1]], [[2, 2], [2, 2]], [[3, 3], [3, 3]]]),
    "columns first": (blocked([1, 1], [2, 2], [1, 1], [1, 0]), (2, 2), [[[0], [1], [2], [3]]]),
    "rows first": (blocked([1, 1], [2, 2], [1, 1], [0, 1]), (2, 2), [[[0], [2], [1], [3]]]),
    "linear": ("#ttg.linear<{register = [[0, 2]], lane = [[1, 0], [0, 1]], warp = [], block = []}>", (2, 4), [[[0], [4], [1], [5]], [[2], [6], [3], [7]]]),
    "one dim of two": (f"#ttg.slice<{{dim = 0, parent = {blocked([1, 2], [2, 2], [1, 1], [1, 0])}}}>", (4,), [[[0], [2], [0], [2]], [[1], [3], [1], [3]]]),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_layouts_by_hand(name: str) -> None:
    text, shape, expected = BY_HAND[name]
    assert layout(text, shape).elements().tolist() == expected
    assert layout("#alias", shape, {"#alias": text}).elements().tolist() == expected


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        (([1, 16], [16, 2], [2, 1], [1, 0]), (256, 32)),
        (([2, 1, 8], [1, 16, 2], [1, 2, 1], [0, 2, 1]), (2, 256, 16)),
        (([1, 4], [4, 8], [4, 1], [0, 1]), (8, 128)),
        (([16], [32], [4], [0]), (512,)),
        (([4, 4], [1, 32], [2, 2], [1, 0]), (2, 64)),
    ],
    ids=str,
)
def test_layouts_are_triton_s(fields: tuple[list[int], ...], shape: tuple[int, ...]) -> None:
    triton = pytest.importorskip("triton")
    ir, gluon_ir = (getattr(triton._C.libtriton, name) for name in ("ir", "gluon_ir"))
    context = ir.context()
    ir.load_dialects(context)
    builder = gluon_ir.GluonOpBuilder(context)
    linear = builder.to_linear_layout(builder.get_blocked_layout(*fields, []), list(shape))
    expected = Layout(shape, *(tuple(map(tuple, b)) for b in (linear.reg_bases, linear.lane_bases, linear.warp_bases)))
    found = layout(blocked(*fields), shape)
    assert found.elements().tolist() == expected.elements().tolist()
    assert found.firsts().tolist() == expected.firsts().tolist()


def test_repeated_threads_store_once() -> None:
    # 2 warps of 4 lanes hold 2 elements: lanes 2 and 3 repeat 0 and 1, and so does the second warp
    found = layout(blocked([1], [4], [2], [0]), (2,))
    assert found.firsts().tolist() == [[True, False], [True, False], [False, False], [False, False]]
    recorded = np.arange(2) * 4, np.ones(2, bool)
    assert warp_accesses(Access(True, found), 4, Recorded(True, *recorded), 4).active.sum() == 2
    assert warp_accesses(Access(False, found), 4, Recorded(False, *recorded), 4).active.sum() == 8  # all of them load


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="neither blocked nor linear"):
        layout("#ttg.nvidia_mma<{versionMajor = 2}>", (8, 8))


# of one instruction: lane offsets, bytes of an access; requests, sectors, distinct sectors and wavefronts by hand
INSTRUCTIONS = {
    "words side by side": (LANES * 4, 4, (128, 1, 4, 4, 1)),
    "bytes side by side": (LANES, 1, (32, 1, 1, 1, 1)),
    "16 bytes side by side": (LANES * 16, 16, (512, 1, 16, 16, 4)),
    "words across two sectors more": (LANES * 4 + 20, 4, (128, 1, 5, 5, 1)),
    "every other word": (LANES * 8, 4, (128, 1, 8, 8, 2)),
    "bytes, every fourth": (LANES * 4, 1, (32, 1, 4, 4, 1)),
    "a word of each line": (LANES * 128, 4, (128, 1, 32, 32, 32)),
    "a word of each line, and one bank on": (LANES * 132, 4, (128, 1, 32, 32, 1)),
    "one word for all": (LANES * 0, 4, (4, 1, 1, 1, 1)),
    "8 bytes of each line": (LANES * 128, 8, (256, 1, 32, 32, 32)),
    "16 bytes of each line": (LANES * 128, 16, (512, 1, 32, 32, 32)),
    "16 bytes of each line, each quarter its banks": (LANES * 128 + LANES // 8 * 16, 16, (512, 1, 32, 32, 32)),
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_one_instruction(name: str) -> None:
    offsets, width, (needed, made, sectors, distinct, wavefronts) = INSTRUCTIONS[name]
    found = count([WarpAccesses(offsets, offsets >= 0, width)])
    assert found == Requests(needed, 8 * width, made, sectors, distinct, wavefronts)


def test_a_program_s_instructions() -> None:
    # two requests for the halves of the same words: every sector is touched twice, and needed once
    low, high = WarpAccesses(LANES * 4, LANES >= 0, 2), WarpAccesses(LANES * 4 + 2, LANES >= 0, 2)
    found = count([low, high])
    assert found == Requests(needed=128, bits=16, requests=2, sectors=8, distinct=4, wavefronts=2)
    assert (found.request_efficiency, found.program_efficiency, found.bytes_per_request) == (0.5, 1.0, 64)
    # another program has sectors of its own
    assert found + found == Requests(256, 16, 4, 16, 8, 4)


def test_masked_lanes_ask_for_nothing() -> None:
    nobody = WarpAccesses(LANES * 128, LANES < 0, 4)
    assert count([nobody]).requests == 0
    assert count([nobody]).request_efficiency == 1.0
    half = WarpAccesses(np.concatenate([LANES * 128, LANES * 4]), np.concatenate([LANES < 2, LANES < 0]), 4)
    assert count([half]) == Requests(needed=8, bits=32, requests=1, sectors=2, distinct=2, wavefronts=2)


def test_accesses_are_aligned() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        count([WarpAccesses(LANES * 16 + 4, LANES >= 0, 16)])


TTGIR = f"""
#blocked = {blocked([4], [32], [1], [0])}
module {{
    %v = tt.load %p, %m, %o : tensor<256x!tt.ptr<i32>, #blocked> loc(#loc1)
    tt.store %q, %v, %m : tensor<256x!tt.ptr<i32>, #blocked>
}}
"""
PTX = """
    @%p1 ld.global.v4.b32 { %r3, %r4, %r5, %r6 }, [ %rd1 + 0 ];
    @%p1 ld.global.v4.b32 { %r3, %r4, %r5, %r6 }, [ %rd1 + 16 ];
    @%p1 st.global.v2.b32 [ %rd3 + 0 ], { %r9, %r10 };
    st.global.v2.b32 [ %rd3 + 0 ], { %r9, %r10 };
    st.global.v2.b32 [ %rd3 + 0 ], { %r9, %r10 };
    st.global.v2.b32 [ %rd3 + 0 ], { %r9, %r10 };
"""


def test_a_small_kernel_by_hand() -> None:
    words, all_of_them = np.arange(256) * 4, np.ones(256, bool)
    program = [Recorded(False, words, all_of_them), Recorded(True, words, all_of_them)]
    loads, stores = requests(TTGIR, PTX, [program, program[:1]], 4)
    assert loads == Requests(needed=2048, bits=128, requests=4, sectors=64, distinct=64, wavefronts=16)
    # 8-byte stores of every second 8 bytes: each sector is touched by two instructions; half-warps meet each bank twice
    assert stores == Requests(needed=1024, bits=64, requests=4, sectors=64, distinct=32, wavefronts=16)


def test_what_does_not_fit_is_an_error() -> None:
    load, store = accesses(TTGIR)
    assert (load.store, store.store) == (False, True)
    assert widths(PTX, [load], 4) == [16]
    for other in ([load, load], [Access(False, layout(blocked([2], [32], [1], [0]), (64,)))]):
        with pytest.raises(ValueError, match=r"ld\.global"):
            widths(PTX, other, 4)
    words, mask = np.arange(256) * 4, np.ones(256, bool)
    with pytest.raises(ValueError, match="no runs of memory"):
        warp_accesses(load, 16, Recorded(False, words * 2, mask), 4)
    with pytest.raises(ValueError, match="no runs of memory"):
        warp_accesses(load, 16, Recorded(False, words, words % 16 > 0), 4)
    with pytest.raises(ValueError, match=r"\(256,\).*\(128,\)"):
        requests(TTGIR, PTX, [[Recorded(False, words[:128], mask[:128])]], 4)


def test_the_programs_looked_at() -> None:
    assert spread(1, 8) == (0,)
    assert spread(8, 8) == tuple(range(8))
    found = spread(10**6, 8)
    assert (found[0], found[-1], len(found)) == (0, 10**6 - 1, 8)


def test_columns_stand_under_their_header() -> None:
    side = Requests(needed=512, bits=128, requests=1, sectors=16, distinct=16, wavefronts=4)
    found = Traffic("aligned", "space_to_batch", 4, "sm_90", "vectors", 1, side, side)
    assert HEADER.split() == ["ld", "eff", "L2", "eff", "B/req", "waves", "st", "eff", "B/req"]
    assert columns(found).split() == ["1.00", "1.00", "512", "4.0", "1.00", "512"]
    assert len(columns(found)) == len(HEADER)
    assert columns(None) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("space_to_batch", 4, "gfx942"), "target must be one of sm_80, sm_90, sm_100, got 'gfx942'"),
        (("space_to_batch", 4, "sm_90", "phasen"), "family must apply .* got 'phasen'"),
        (("batch_to_space", 4, "sm_90", "phases"), "family must apply .* vectors, granules, rows do, got 'phases'"),
        (("space_to_batch", 3), "element_bytes one of .* and 3"),
        (("to_batch", 4), "direction must be one of .* got 'to_batch'"),
    ],
    ids=str,
)
def test_bad_arguments(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        traffic(KernelCase("aligned", (8, 64, 128, 128), 2), *arguments)
