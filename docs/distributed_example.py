"""A tensor sharded over processes, to the batch and back, forward and backward, without communication.

On one machine:

    torchrun --standalone --nproc-per-node=2 docs/distributed_example.py

On many, the same file on each of them, with one address where they meet:

    torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 docs/distributed_example.py
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode

import spacebatch


def main() -> None:
    """Shard an image's rows, move it to the batch and back, and compare with the same on the whole image."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    world = int(os.environ["WORLD_SIZE"])
    mesh = init_device_mesh(kind, (world,))

    torch.manual_seed(0)  # the same image everywhere
    image = torch.rand(2, 3, 8 * world, 10, device=kind)
    x = distribute_tensor(image, mesh, [Shard(2)]).requires_grad_()  # 8 rows for each process, a multiple of the block

    paddings = ((0, 0), (1, 1))  # of the columns, which are not sharded
    with CommDebugMode() as communication:
        y = spacebatch.space_to_batch(x, 4, paddings=paddings)
        z = spacebatch.batch_to_space(y, 4, crops=paddings)
        z.sum().backward()

    equal = torch.equal(y.full_tensor(), spacebatch.space_to_batch(image, 4, paddings=paddings))
    equal = equal and torch.equal(z.full_tensor(), image)
    if dist.get_rank() == 0:
        print(f"{world} processes: {y.to_local().shape} of {tuple(y.shape)} each, {y.placements}")
        print(f"collectives: {communication.get_total_counts()}, equal to the whole: {equal}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
