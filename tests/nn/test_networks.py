"""Whole networks, converted, equal themselves: DeepLabv3, a DRN, a WaveNet, a TCN; trained, distributed, compiled."""

from __future__ import annotations

import copy
import os
import socket

import pytest
import torch
from torch import Tensor, nn

from spacebatch import convert, functions
from spacebatch.nn.converted_class import dilation_of
from spacebatch.perf.networks import NETWORKS, TCN
from tests.same_networks import assert_same, assert_same_in_both_modes

MOVES = {"deeplab": (5, 6), "drn": (3, 3), "wavenet": (16, 20), "tcn": (3, 3)}  # there and back
each_network = pytest.mark.parametrize("name", NETWORKS)


def made(name: str) -> tuple[nn.Module, nn.Module]:
    """(the network, the same converted, over tensors of its own); float64, dropout off."""
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = make().double()
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    example = torch.zeros(2, *shape, dtype=torch.double)
    return network, convert(copy.deepcopy(network), example, method="batch_space")


def inputs(name: str, side: int = 0, samples: int = 2, seed: int = 0) -> Tensor:
    _, (channels, *sizes) = NETWORKS[name]
    shape = (samples, channels, *((side,) * len(sizes) if side else sizes))
    return torch.randn(shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("side", [0, 48, 29], ids=["uneven", "divisible", "small"])
@each_network
def test_equal(name: str, side: int) -> None:
    network, converted = made(name)
    assert any(row.kind == "chain" for row in converted.conversion.rows)  # type: ignore[union-attr]
    assert list(converted.state_dict()) == list(network.state_dict())
    assert_same_in_both_modes(network, converted, inputs(name, side))


@each_network
def test_every_dilated_convolution_is_reported_once(name: str) -> None:
    network, converted = made(name)
    rows = converted.conversion.rows  # type: ignore[union-attr]
    named = [path for row in rows for path in row.where]
    dilated = {path for path, part in network.named_modules() if dilation_of(part)}
    assert sorted(named) == sorted(dilated)
    assert all(row.ended and row.replaced for row in rows)


@each_network
def test_moves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, converted = made(name)
    moves: list[str] = []
    for direction in ("space_to_batch", "batch_to_space"):
        original = getattr(functions, direction)
        monkeypatch.setattr(
            functions, direction, lambda *a, d=direction, f=original, **k: (moves.append(d), f(*a, **k))[1]
        )
    with torch.no_grad():
        converted.eval()(inputs(name))
    assert (moves.count("space_to_batch"), moves.count("batch_to_space")) == MOVES[name]


@each_network
def test_trained_the_same(name: str) -> None:
    """Some steps of SGD with momentum: losses, parameters and running statistics stay together in float64."""
    pair = made(name)
    losses: list[list[float]] = [[], []]
    for network, own in zip(pair, losses, strict=True):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        for step in range(5):
            loss = (network(inputs(name, 29, seed=step)) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            own.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert losses[0][-1] < losses[0][0]
    torch.testing.assert_close(pair[1].state_dict(), pair[0].state_dict(), rtol=1e-7, atol=1e-7)


def test_compiled() -> None:
    """One whole graph, with the backward pass."""
    torch.compiler.reset()
    network, x = TCN(2, 2, dropout=0.0).double().eval(), inputs("tcn", 29)
    converted = convert(copy.deepcopy(network), x, method="batch_space")
    compiled = torch.compile(converted, fullgraph=True, backend="aot_eager")
    assert_same(network, converted, x, call=compiled)
    torch.compiler.reset()


def _train_one_rank(rank: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    try:
        results = []
        for network in made("tcn"):
            parallel = nn.parallel.DistributedDataParallel(network)
            x = inputs("tcn", samples=4)[2 * rank : 2 * rank + 2]
            parallel(x).square().mean().backward()
            results.append([parameter.grad for parameter in network.parameters()])
        alone, _ = made("tcn")
        alone(inputs("tcn", samples=4)).square().mean().backward()
        for native, ours, whole in zip(*results, (p.grad for p in alone.parameters()), strict=True):
            torch.testing.assert_close(ours, native, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(ours, whole, rtol=1e-9, atol=1e-12)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_data_parallel_on_two_ranks() -> None:
    """The gradients of both ranks are those of the native network, and of one process with the whole batch."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    torch.multiprocessing.spawn(_train_one_rank, args=(port,), nprocs=2)
