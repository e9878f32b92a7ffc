"""Several processes of torch.distributed that compute the tiles of one image together; or one alone, for whom nothing is sent.

Batches go round: in every round each rank computes one. Where each rank needs the whole result, the ranks exchange what they made and
add it up in the order of a single process, so that the bits are the same however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Ranks:
    """The processes of a group.

    Attributes:
        rank, size: this one, and how many there are.
    """

    def __init__(self, group: Any) -> None:
        self.group = group
        self.rank, self.size = 0, 1
        if group is not None:
            import torch.distributed as dist

            if not isinstance(group, dist.ProcessGroup):
                raise TypeError(
                    f"tiled: group must be a ProcessGroup such as torch.distributed.group.WORLD, got {type(group).__name__}"
                )
            self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
            if self.rank < 0:
                raise ValueError("tiled: this process is not in group")

    def _gathered(self, value: Any) -> list[Any]:
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.group)
        return found

    def agree(self, arguments: dict[str, Any]) -> None:
        """That all ranks were called with the same.

        Raises:
            ValueError: they were not.
        """
        if self.size == 1:
            return
        for rank, other in enumerate(self._gathered(arguments)):
            for name, value in arguments.items():
                if other[name] != value:
                    raise ValueError(
                        f"tiled: ranks disagree: {name} is {value} on rank {self.rank} and {other[name]} on rank {rank}"
                    )

    def first(self, value: Any) -> Any:
        """The value of rank 0."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=dist.get_global_rank(self.group, 0), group=self.group)
        return box[0]

    def go_on(self, error: Exception | None) -> None:
        """Raise this rank's error, or tell of another's: a rank that failed leaves nobody waiting."""
        if self.size > 1:
            found = self._gathered(None if error is None else str(error))
            others = [(rank, text) for rank, text in enumerate(found) if text is not None]
            if error is None and others:
                raise RuntimeError(f"tiled: rank {others[0][0]} failed: {others[0][1]}")
        if error is not None:
            raise error

    def exchange(
        self,
        mine: Sequence[Tensor],
        shapes: Sequence[Sequence[tuple[int, ...]]],
        dtype: torch.dtype,
        device: torch.device,
    ) -> list[Sequence[Tensor]]:
        """The results of all ranks, of the shapes that each rank's have."""
        if self.size == 1:
            return [mine]
        import torch.distributed as dist

        where = torch.device("cpu") if dist.get_backend(self.group) == "gloo" else device
        found: list[Sequence[Tensor]] = []
        for rank, wanted in enumerate(shapes):
            counts = [torch.Size(shape).numel() for shape in wanted]
            if rank == self.rank:
                flat = torch.cat([y.reshape(-1) for y in mine]).to(where) if mine else torch.empty(0, dtype=dtype)
            else:
                flat = torch.empty(sum(counts), dtype=dtype, device=where)
            if counts:  # as bytes: no dtype is too exotic
                dist.broadcast(flat.view(torch.uint8), dist.get_global_rank(self.group, rank), group=self.group)
            parts = torch.split(flat.to(device), counts)
            found.append(mine if rank == self.rank else [p.view(s) for p, s in zip(parts, wanted, strict=True)])
        return found

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier(group=self.group)
