"""Triton kernels for both directions.

`steps` and `row_loops` turn the loops of a call into those of a kernel; `rows`, `vectors`, `phases`, `granules`,
`deinterleave` and `interleave` hold a family each, its plan and its kernel; `funnel` moves bytes within words. `work` is what plans
know of arithmetic on the way, `arithmetic` what kernels do of it, with `conversions` and `activations`. `plan` chooses among the families; `launch` prepares and starts them. This package imports nothing, so that triton is loaded when the first
call on a GPU needs it.
"""
