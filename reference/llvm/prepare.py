
import importlib.util
from operator import methodcaller
from . import launch
from .engine import missing
class P:
    def __init__(s, direction, job, device, new):
        s.to_batch, s.job, s.new = direction=="space_to_batch", job, new
        s.address = methodcaller("data_ptr") if device=="cpu" else (lambda a: a.ctypes.data)
    def ready(s, wait=False): return True
    def __str__(s): return str(s.job)
    def __call__(s, source, result, pad):
        a = s.address
        j = s.job
        if not s.to_batch: source, result = result, source
        if j.short is not None and not pad: return j.short(a(source), a(result), j.plain)
        j.run(a(source), a(result), pad, 2 if j.shared else 1, s.new)
def prepare(direction, geometry, source, result):
    if missing(): return missing()
    if source.strides is None: return "a stride is no whole number of elements"
    if source.device=="numpy" and source.dtype.kind not in "biufcmM": return f"dtype {source.dtype} is not one of plain numbers"
    a = (source.strides, result.strides)
    job = launch.job_of(direction, geometry, *(a if direction=="space_to_batch" else a[::-1]), source.itemsize)
    return job if isinstance(job, str) else P(direction, job, source.device, result.new)
