"""Triton kernels for both directions, their launch plans and their tuning.

`plan` turns a geometry and two sets of strides into numbers, without torch, triton or a GPU; `rows` holds the kernels;
`launch` starts them. Import the modules by name: this package imports nothing, so that triton is loaded when the first
call needs it.
"""
