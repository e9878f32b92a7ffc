"""The record of a run that may be interrupted: a small JSON file, and beside it the slab that was being added to, if there is one.

The record is replaced as a whole. It names the batches that are done, the arguments they were done with, and a checksum of what was
written last, so that another call, another model, or an `out` that was made anew is refused.
"""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..atomic_file import write_bytes_atomically, write_text_atomically
from .positions import Spans

FORMAT = 1


class Record:
    """The file of a run.

    Attributes:
        path: the file. arguments: what the run was called with, as JSON can hold it.
        probed: (sample, place) of what was written last, and its checksum.
    """

    def __init__(self, path: Path, arguments: dict[str, Any]) -> None:
        self.path, self.arguments = path, json.loads(json.dumps(arguments))
        self.slab_file: str | None = None

    def load(self) -> dict[str, Any] | None:
        """What an earlier run left, or None.

        Raises:
            ValueError: the file is no record, or one of other arguments.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            data = json.loads(text)
            kind, arguments = data["format"], data["arguments"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"tiled: resume={str(self.path)!r} is not a record of tiled()") from None
        if kind != FORMAT:
            raise ValueError(f"tiled: the record {self.path} has format {kind}, this version writes {FORMAT}")
        if arguments != self.arguments:
            differ = [name for name in self.arguments if arguments.get(name) != self.arguments[name]]
            name = (differ or sorted(set(arguments) - set(self.arguments)))[0]
            raise ValueError(
                f"tiled: the record {self.path} is of another call: {name} was {arguments.get(name)}, "
                f"now it is {self.arguments.get(name)}; delete it to begin anew"
            )
        self.slab_file = data["slab"]
        return data  # type: ignore[no-any-return]

    def slab(self) -> dict[str, Any] | None:
        """The state of the slab that the record names."""
        if self.slab_file is None:
            return None
        data = (self.path.parent / self.slab_file).read_bytes()
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)  # type: ignore[no-any-return]

    def save(
        self, done: int, output: dict[str, Any], last: tuple[int, Spans, int] | None, slab: dict[str, Any] | None
    ) -> None:
        """Replace the record: the slab first, then the file that names it; then the old slab goes."""
        before, self.slab_file = self.slab_file, None
        if slab is not None:
            self.slab_file = f"{self.path.name}.{done}.slab"
            buffer = io.BytesIO()
            torch.save(slab, buffer)
            write_bytes_atomically(self.path.parent / self.slab_file, buffer.getbuffer())
        data = {"format": FORMAT, "done": done, "last": last, "slab": self.slab_file}
        write_text_atomically(self.path, json.dumps({**data, "output": output, "arguments": self.arguments}, indent=1))
        if before is not None and before != self.slab_file:
            (self.path.parent / before).unlink(missing_ok=True)


def fingerprint(model: Any) -> str:
    """The class of a model and a checksum of its parameters and buffers; of a function, its name alone.

    >>> fingerprint(nn.Linear(1, 1)) == fingerprint(nn.Linear(1, 1)), fingerprint(len)
    (False, 'builtins.len')
    """
    kind = model if hasattr(model, "__qualname__") else type(model)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if not isinstance(model, nn.Module):
        return name
    total = 0
    for key, value in model.state_dict().items():
        total = zlib.crc32(key.encode(), total)
        if isinstance(value, Tensor) and value.numel():
            total = zlib.crc32(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{name} {total:08x}"
