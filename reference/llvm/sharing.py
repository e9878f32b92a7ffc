"""The functions of a kernel that are called, around the one that runs steps: alone, and in turns with other threads."""

from __future__ import annotations

from .emit import I64, POINTER, Code, Module, const
from .workers import JOB


def write_whole(module: Module, run: Code) -> None:
    """whole(space, batch, numbers): all steps."""
    code = module.function("whole", "void", [POINTER] * 3)
    space, batch, numbers = code.arguments
    code.call(run, [space, batch, numbers, const(0), code.number(numbers, 0)])
    code.result()


def write_share(module: Module, run: Code) -> Code:
    """share(job, first, spins): chunks from range `first` on as long as there are some, then a short wait for the others'.

    Its result is 1 if all steps are done, else 0.
    """
    code = module.function("share", I64, [POINTER, I64, I64])
    job, first, spins = code.arguments
    place = {name: k for k, name in enumerate(JOB)}
    space, batch, numbers = [code.pointer(code.number(job, place[name])) for name in ("space", "batch", "numbers")]
    steps, chunk, ranges = code.number(numbers, 0), code.number(job, place["chunk"]), code.number(job, place["ranges"])
    done = code.at(job, const(place["done"]), I64)
    with code.loop(const(0), ranges) as turn:
        which = code.rest(code.add(first, turn), ranges)
        own = code.at(job, code.add(const(len(JOB)), code.mul(which, 2)), I64)
        stop = code.number(own, 1)
        take, work, out = code.block(), code.block(), code.block()
        code.branch(take)
        code.begin(take)
        begin = code.fetch_add(own, chunk)
        code.branch_if(code.less(begin, stop), work, out)
        code.begin(work)
        end = code.least(code.add(begin, chunk), stop)
        code.call(run, [space, batch, numbers, begin, end])
        code.fetch_add(done, code.sub(end, begin))
        code.branch(take)
        code.begin(out)
    wait, again, over = code.block(), code.block(), code.block()
    before = code.label
    code.branch(wait)
    code.begin(wait)
    spin = code.phi()
    finished = code.at_least(code.load_acquire(done), steps)
    code.branch_if(code.any(finished, code.at_least(spin, spins)), over, again)
    code.begin(again)
    code.incoming(spin, (const(0), before), (code.add(spin, const(1)), again))
    code.branch(wait)
    code.begin(over)
    code.result(code.widened(finished))
    return code


def write_join(module: Module, share: Code) -> None:
    """join(job): the same from the range of this thread, whose number the function at `which` tells."""
    code = module.function("join", "void", [POINTER])
    (job,) = code.arguments
    number = code.call_at(code.pointer(code.number(job, JOB.index("which"))), "i32")
    code.call(share, [job, code.widened(number), const(0)])
    code.result()
