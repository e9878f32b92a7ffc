"""Triton kernels for both directions.

`steps` and `row_loops` turn the loops of a call into those of a kernel; `rows`, `vectors`, `phases` and `granules` hold a
family each, its plan and its kernel; `plan` chooses among them; `launch` prepares and starts them. This package imports
nothing, so that triton is loaded when the first call on a GPU needs it.
"""
