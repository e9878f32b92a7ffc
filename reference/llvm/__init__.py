"""Vector kernels for the CPU, written down as LLVM's intermediate language and compiled by llvmlite when a call first needs them.

`plan` turns loops into a kind of kernel and its numbers, without LLVM; `kernel` writes a kind down, with the rows of `rows` and
`transposed`, the shuffles of `lanes` and the loops of `emit`; `engine` compiles; `sharing`, `workers` and `openmp` share a call out among
threads; `launch` starts it, `tensors` and `arrays` on what users have.
This package imports nothing, so that LLVM is loaded when the first call needs it.
"""
