"""Programs written by hand: what a GPU would do with them, and what may not go unseen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.ptx.machine import Launch, execute
from tests.ptx.memory import Memory, RealBuffer
from tests.ptx.program import KernelError, Program

MODULE = """
.version 8.3
.target sm_90
.address_size 64
.extern .shared .align 16 .b8 global_smem[];
.visible .entry kernel(.param .u64 .ptr .global .align 16 kernel_param_0, .param .u64 .ptr .global .align 16 kernel_param_1)
.reqntid 64
{
    .reg .pred %p<9>;
    .reg .b32 %r<99>;
    .reg .b64 %rd<99>;
    ld.param.b64 %rd1, [kernel_param_0];
    ld.param.b64 %rd2, [kernel_param_1];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.x;
    mad.lo.s32 %r3, %r2, 64, %r1;  // of all threads
    mad.wide.s32 %rd3, %r3, 4, %rd1;
    mad.wide.s32 %rd4, %r3, 4, %rd2;
    xor.b32 %r4, %r1, 63;  // the thread at the other end, of the other warp
    setp.lt.s32 %p1, %r1, 10;
    mov.u32 %r9, global_smem;
    mad.lo.s32 %r10, %r1, 4, %r9;
    mad.lo.s32 %r11, %r4, 4, %r9;
    BODY
    ret;
}
"""
COPY = "ld.global.b32 { %r20 }, [ %rd3 + 0 ]; st.global.b32 [ %rd4 + 0 ], { %r20 };"
INTO = "ld.global.b32 { %r20 }, [ %rd3 + 0 ]; st.shared.b32 [ %r10 + 0 ], %r20;"
OUT = "ld.shared.b32 %r21, [ %r11 + 0 ]; st.global.b32 [ %rd4 + 0 ], { %r21 };"
NUMBERS = np.arange(128, dtype=np.int32)


def ran(body: str, shift: int = 0) -> np.ndarray:
    """The result of two programs of 64 threads, given the numbers 0 to 127; one that is not written is -1."""
    storage = torch.arange(132, dtype=torch.int32)
    source, result = storage[shift : 128 + shift], torch.full((128,), -1, dtype=torch.int32)
    addresses = b"".join(x.data_ptr().to_bytes(8, "little") for x in (source, result))
    program = Program(MODULE.replace("BODY", body.replace(";", ";\n")))
    memory = Memory(RealBuffer("source", source, False), RealBuffer("result", result, True))
    execute(Launch(program, addresses, 2, 64, 256), memory)
    return result.numpy()


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (COPY, NUMBERS),
        (f"{INTO} bar.sync 0; {OUT}", NUMBERS.reshape(2, 64)[:, ::-1].ravel()),
        ("@%p1 st.global.b32 [ %rd4 + 0 ], { %r1 };", np.where(NUMBERS % 64 < 10, NUMBERS % 64, -1)),
        ("@!%p1 bra $L1; mov.b32 %r3, 7;\n$L1:\n st.global.b32 [%rd4], %r3;", np.where(NUMBERS % 64 < 10, 7, NUMBERS)),
        (
            "shfl.sync.bfly.b32 %r5, %r3, 1, 31, -1; st.global.b32 [%rd4+0], %r5;",
            NUMBERS.reshape(-1, 2)[:, ::-1].ravel(),
        ),
        (
            "and.b32 %r5, %r3, 1; setp.eq.s32 %p2, %r5, 0; add.s32 %r6, %r3, 1;"
            "@%p2 st.global.v2.b32 [ %rd4 + 0 ], { %r6, %r3 };",
            NUMBERS.reshape(-1, 2)[:, ::-1].ravel(),
        ),
    ],
)
def test_results(body: str, result: np.ndarray) -> None:
    np.testing.assert_array_equal(ran(body), result)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("ld.global.b32 { %r20 }, [ %rd3 + 4 ];", "load from the source is out of bounds, at byte 512"),
        ("st.global.b32 [ %rd3 + 0 ], { %r1 };", "store to the result is out of bounds"),
        ("ld.global.v2.b32 { %r20, %r21 }, [ %rd3 + 0 ];", "misaligned"),
        (f"{COPY} st.global.b32 [ %rd4 + 0 ], {{ %r1 }};", "a byte is stored twice"),
        ("st.global.b32 [ %rd2 + 0 ], { %r1 };", "a byte is stored twice"),
        (f"{INTO} {OUT}", "that another warp wrote, without a barrier"),
        ("st.shared.b32 [ %r9 + 0 ], %r1;", "two warps write different values"),
        (f"{INTO} bar.sync 0; {OUT} {INTO}", "that another warp read, without a barrier"),
        ("ld.shared.b32 %r21, [ %r10 + 0 ];", "that nobody wrote"),
        ("st.shared.b32 [ %r10 + 4 ], %r1;", "out of the 256 bytes of shared memory"),
        ("@%p1 bra $L1; bar.sync 0;\n$L1:\n", "a barrier that not all threads reach"),
        ("\n$L1:\n bra $L1;", "no end"),
        ("div.s32 %r20, %r1, %r1;", "division by zero"),
        ("fma.rz.f32 %r20, %r1, %r1, %r1;", "'fma.rz.f32 %r20, %r1, %r1, %r1'"),
    ],
)
def test_faults(body: str, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        ran(body)


def test_rubbish_in_registers_that_were_not_written() -> None:
    assert len(np.unique(ran("st.global.b32 [ %rd4 + 0 ], { %r50 };"))) > 100


def test_an_address_that_breaks_the_promise_of_the_signature() -> None:
    with pytest.raises(KernelError, match="kernel_param_0 is promised to be a multiple of 16"):
        ran(COPY, shift=1)
