"""The functions of a kernel that are called, around the one that runs steps: alone, and in turns with other threads."""

from __future__ import annotations

from .emit import I64, POINTER, Code, Module, Value, const
from .workers import JOB, PIECE


def write_whole(module: Module, run: Code) -> None:
    """whole(space, batch, numbers): all steps."""
    code = module.function("whole", "void", [POINTER] * 3)
    space, batch, numbers = code.arguments
    code.call(run, [space, batch, numbers, const(0), code.number(numbers, 0)])
    code.result()


def write_pieces(module: Module, run: Code) -> Code:
    """pieces(table, count, begin, end): the steps begin to end of all pieces, which are numbered through.

    A row of the table holds the `PIECE` of one piece, and one more row the number of all steps.
    """
    code = module.function("pieces", "void", [POINTER, I64, I64, I64], internal=True)
    table, count, begin, end = code.arguments

    def row(k: Value) -> Value:
        return code.at(table, code.mul(k, 8 * len(PIECE)))

    # the last piece that starts at `begin` or before: between two numbers, which come closer
    search, halve, upper, lower, found = (code.block() for _ in range(5))
    before = code.label
    code.branch(search)
    code.begin(search)
    low, high = code.phi(), code.phi()
    code.branch_if(code.less(code.add(low, const(1)), high), halve, found)
    code.begin(halve)
    middle = code.div(code.add(low, high), 2)
    code.branch_if(code.less(begin, code.number(row(middle), 0)), upper, lower)
    for label in (upper, lower):
        code.begin(label)
        code.branch(search)
    code.incoming(low, (const(0), before), (low, upper), (middle, lower))
    code.incoming(high, (count, before), (middle, upper), (high, lower))
    code.begin(found)
    walk, work, over = (code.block() for _ in range(3))
    before = code.label
    code.branch(walk)
    code.begin(walk)
    piece, step = code.phi(), code.phi()
    code.branch_if(code.less(step, end), work, over)
    code.begin(work)
    here = row(piece)
    first, space, batch, numbers = (code.number(here, k) for k in range(len(PIECE)))
    stop = code.least(code.number(here, len(PIECE)), end)
    arguments = [code.pointer(number) for number in (space, batch, numbers)]
    code.call(run, [*arguments, code.sub(step, first), code.sub(stop, first)])
    following = code.add(piece, const(1))
    code.branch(walk)
    code.incoming(piece, (low, before), (following, work))
    code.incoming(step, (begin, before), (stop, work))
    code.begin(over)
    code.result()
    return code


def write_share(module: Module, pieces: Code) -> Code:
    """share(job, first, spins): chunks from range `first` on as long as there are some, then a short wait for the others'.

    Its result is 1 if all steps are done, else 0.
    """
    code = module.function("share", I64, [POINTER, I64, I64])
    job, first, spins = code.arguments
    place = {name: k for k, name in enumerate(JOB)}
    table = code.pointer(code.number(job, place["table"]))
    count, steps, chunk, ranges = (code.number(job, place[name]) for name in ("count", "steps", "chunk", "ranges"))
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
        code.call(pieces, [table, count, begin, end])
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
