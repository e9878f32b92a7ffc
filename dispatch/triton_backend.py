
from spacebatch.reference.prepared import Backend
from spacebatch.reference.loops import nest
import torch
class P:
    def __init__(s, d, g): s.d, s.g = d, g
    def ready(s, wait=False): return True
    def __call__(s, source, result, pad):
        from spacebatch.tl_kernels import launch
        launch.run(s.d, s.g, source, result, torch.frombuffer(bytearray(pad), dtype=source.dtype).item() if pad else 0)
def prepare(d, g, s, r):
    if s.device not in ("cuda", "cpu"): return "the tensor is on x, and the kernels run on CUDA and ROCm devices"
    return P(d, g)
TRITON = Backend("triton", prepare)
