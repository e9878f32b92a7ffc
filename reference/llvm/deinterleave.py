"""Deinterleave and interleave: the elements of b vectors change places by shuffles of two vectors at a time.

The elements of b vectors in a row, one after the other, are 0, 1, 2, …; deinterleaved they are b vectors, of which number p
holds p, p + b, p + 2b, …. For each prime factor f of b, f vectors become f others by f - 1 shuffles each: 1 for blocks of 2, 2 for
blocks of 4 and of 3, 3 for blocks of 8.
"""

from __future__ import annotations

from collections.abc import Sequence

from .emit import Code, Value


def shuffled(code: Code, sources: Sequence[Value], picks: Sequence[tuple[int, int]]) -> Value:
    """A vector of elements (vector, index) of several vectors.

    Each shuffle brings in one more source; what is not there yet stays undefined until it is.
    """
    used = sorted({source for source, _ in picks})
    size = len(picks)
    first, *others = used
    if not others:
        return code.shuffle(sources[first], sources[first], [index for _, index in picks])
    result = sources[first]
    for number, source in enumerate(others):
        here = {first, *others[:number]}
        mask = [
            size + index if s == source else (index if number == 0 else k) if s in here else k
            for k, (s, index) in enumerate(picks)
        ]
        result = code.shuffle(result, sources[source], mask)
    return result


def prime_factor(block: int) -> int:
    """The smallest factor above 1.

    >>> prime_factor(9), prime_factor(8), prime_factor(7)
    (3, 2, 7)
    """
    return next(f for f in range(2, block + 1) if block % f == 0)


def deinterleaved(code: Code, vectors: Sequence[Value], size: int) -> list[Value]:
    """As many vectors, number p of which holds every len(vectors)-th element from p on."""
    block = len(vectors)
    if block == 1:
        return list(vectors)
    f = prime_factor(block)
    result = list(vectors)
    for q in range(f):
        part = []
        for k in range(block // f):
            places = [(k * size + j) * f + q for j in range(size)]
            part.append(shuffled(code, vectors, [divmod(place, size) for place in places]))
        for r, vector in enumerate(deinterleaved(code, part, size)):
            result[q + f * r] = vector
    return result


def interleaved(code: Code, vectors: Sequence[Value], size: int) -> list[Value]:
    """The inverse: element m of vector p becomes number m * len(vectors) + p of all."""
    block = len(vectors)
    if block == 1:
        return list(vectors)
    f = prime_factor(block)
    inner = block // f
    parts = [interleaved(code, [vectors[q + f * r] for r in range(inner)], size) for q in range(f)]
    flat = [vector for part in parts for vector in part]
    result = []
    for t in range(block):
        picks = []
        for j in range(size):
            m, q = divmod(t * size + j, f)
            vector, index = divmod(m, size)
            picks.append((q * inner + vector, index))
        result.append(shuffled(code, flat, picks))
    return result
