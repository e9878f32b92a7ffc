"""Speed: how calls are timed and compared, and the sweeps that use it.

Every figure stands beside the copy bandwidth of the same number of bytes, measured in the same run, and names its
hardware.
"""
