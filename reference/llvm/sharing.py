"""The functions of a kernel that are called, around the one that runs steps: alone, and in turns with other threads."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .emit import I64, POINTER, Code, const
from .workers import JOB

Value = Any


def write_whole(code: Code, run: Value) -> None:
    """whole(space, batch, numbers): all steps."""
    space, batch, numbers = code.function.args
    code.builder.call(run, [space, batch, numbers, const(0), code.number(numbers, 0)])
    code.builder.ret_void()


def write_share(code: Code, run: Value) -> None:
    """share(job, first, spins): chunks from range `first` on as long as there are some, then a short wait for the others'.

    Its result is 1 if all steps are done, else 0.
    """
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


def write_join(code: Code, share: Value) -> None:
    """join(job): the same from the range of this thread, whose number the function at `which` tells."""
    b = code.builder
    (job,) = code.function.args
    which = b.inttoptr(code.number(job, JOB.index("which")), ir.FunctionType(ir.IntType(32), []).as_pointer())
    number = b.call(which, [])
    b.call(share, [job, b.zext(number, I64), const(0)])
    b.ret_void()
