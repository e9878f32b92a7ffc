"""Vector kernels for the CPU, written in LLVM's intermediate language and compiled by llvmlite.

The way of a call: `prepare` turns a geometry and two layouts into a call, by `plan`: the spec of a kernel (`spec`) and the numbers to give
it. `compiler` has the kernels, loaded from disk by `object_cache` or compiled by `engine`. `kernel` writes a spec as text by means of `emit`,
with the rows of `segment_rows` and `transpose`, the shuffles of `deinterleave`, and `sharing` for what threads call. `workers` and `openmp`
share a call among threads.

Arithmetic on the way is in one place, the store: `computing`, with `conversions` and `activations` written in the `lanes` of vectors;
`operands` is what a call gives it.

This package imports nothing, and nothing in it but `engine` loads LLVM, when the first call needs it.
"""
