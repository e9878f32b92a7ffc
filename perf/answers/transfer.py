"""Augmentation and transfer learning: what commutes with the operators, what checkpoints do, and a network that learns anew."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import spacebatch
from spacebatch import space_to_batch

from .other_sizes import trained
from .scenes import RATES, difference, draw, network, score, small, train

BLOCK = 4


def measure(quick: bool) -> dict[str, Any]:
    """Bits for the operators; differences, losses and overlaps for networks."""
    return {
        "commutes": _commuting(),
        "block": BLOCK,
        "checkpoint": _checkpoint(quick),
        "learnt": _learnt(quick),
        "augmented": _augmented(quick),
    }


def _phases(y: Tensor) -> Tensor:
    """(P * N, C, H', W') seen as (p, q, N, C, H', W')."""
    return y.view(BLOCK, BLOCK, -1, *y.shape[1:])


Change = Callable[[Tensor], Tensor]
# augmentation: (of the image, of each phase by itself, of all phases together; None where there is no such thing)
AUGMENTATIONS: dict[str, tuple[Change, Change, Change | None]] = {
    "brightness, or any function of a position": (lambda x: x * 1.5 + 0.1, lambda y: y * 1.5 + 0.1, None),
    "crop from a multiple of the block": (lambda x: x[..., 8:24, 4:28], lambda y: y[..., 2:6, 1:7], None),
    "cyclic shift by a multiple of the block": (lambda x: x.roll(8, 2), lambda y: y.roll(2, 4), None),
    "flip": (lambda x: x.flip(-1), lambda y: y.flip(-1), lambda y: y.flip(1, -1)),
    "turn by 90 degrees": (
        lambda x: x.rot90(1, (2, 3)),
        lambda y: y.rot90(1, (4, 5)),
        lambda y: y.rot90(1, (0, 1)).rot90(1, (4, 5)),
    ),
    "crop from elsewhere": (
        lambda x: x[..., 6:30, 4:28],
        lambda y: y[..., 1:7, 1:7],
        lambda y: torch.cat([y[2:, ..., 1:7, 1:7], y[:2, ..., 2:8, 1:7]]),
    ),
    "blur, resizing, or what else mixes neighbours": (
        lambda x: nn.functional.avg_pool2d(x, 3, 1, 1),
        lambda y: nn.functional.avg_pool2d(y.flatten(0, 3), 3, 1, 1).view(y.shape),
        None,
    ),
}


def _commuting() -> list[dict[str, Any]]:
    """Whether the phases of the changed image are the changed phases, each changed by itself or all together."""
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    phases = _phases(space_to_batch(x, BLOCK))
    found = []
    for name, (of_image, of_each, of_all) in AUGMENTATIONS.items():
        wanted = _phases(space_to_batch(of_image(x), BLOCK))
        each = torch.equal(of_each(phases), wanted)
        found.append(
            {"augmentation": name, "each": each, "all": each if of_all is None else torch.equal(of_all(phases), wanted)}
        )
    return found


def _checkpoint(quick: bool) -> dict[str, Any]:
    net = trained(quick)
    ours = spacebatch.convert(network(4 if quick else 16), method="batch_space")
    loaded = ours.load_state_dict(net.state_dict())
    x = draw(2, 48, seed=11)[0]
    with torch.no_grad():
        found = difference(net(x), ours.eval()(x))
    return {
        "keys": len(net.state_dict()),
        "missing": len(loaded.missing_keys),
        "unexpected": len(loaded.unexpected_keys),
        "difference": found,
    }


def _learnt(quick: bool) -> list[dict[str, Any]]:
    """A new task of few images, diamonds instead of boxes: pretrained and from scratch, native and in batch space."""
    pretrained = trained(quick)
    nets: dict[str, nn.Module] = {"native, pretrained": copy.deepcopy(pretrained)}
    nets["batch space, pretrained"] = spacebatch.convert(copy.deepcopy(pretrained), method="batch_space")
    nets["batch space, from scratch"] = spacebatch.convert(network(4 if quick else 16), method="batch_space")
    data = [draw(2 if quick else 8, 48, seed=100 + k, kinds=("ball", "diamond")) for k in range(2 if quick else 60)]
    runs = train(nets, data, rate=5e-3)
    x, y = draw(2 if quick else 24, 48, seed=8, kinds=("ball", "diamond"))
    native = runs["native, pretrained"].losses
    return [
        {
            "network": name,
            "last_loss": statistics.fmean(run.losses[-5:]),
            "overlap": score(nets[name], x, y),
            "first_loss_difference": abs(run.losses[0] - native[0]) / native[0] if "pretrained" in name else None,
        }
        for name, run in runs.items()
    ]


def _augmented(quick: bool) -> list[dict[str, Any]]:
    """Eight images, over and over: as they are, and flipped and turned at random."""
    few = draw(8, 48, seed=21)
    generator = torch.Generator().manual_seed(0)

    def turned(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        turns, flips = torch.randint(4, (), generator=generator).item(), torch.rand((), generator=generator) < 0.5
        x, y = (part.rot90(int(turns), (-2, -1)) for part in batch)
        return (x.flip(-1), y.flip(-1)) if flips else (x, y)

    steps = 2 if quick else 120
    tests = draw(2 if quick else 24, 48, seed=9)
    found = []
    for name, change in (("as they are", lambda batch: batch), ("flipped and turned", turned)):
        data = [change(few) for _ in range(steps)]
        nets = {"native": network(4 if quick else 16, RATES)}
        nets["batch space"] = spacebatch.convert(copy.deepcopy(nets["native"]), method="batch_space")
        train(nets, data)
        found.append(
            {"images": name} | {way: {"seen": score(net, *few), "new": score(net, *tests)} for way, net in nets.items()}
        )
    return found


def told(found: dict[str, Any]) -> list[Any]:
    """A sentence and three tables."""
    answer = {True: "yes", False: "no"}
    commutes: list[Any] = [("augmentation", "done in each phase", "when phases change places as well")]
    commutes += [(row["augmentation"], answer[row["each"]], answer[row["all"]]) for row in found["commutes"]]
    learnt: list[Any] = [("a new task", "loss at the end", "overlap", "first loss differs from native by")]
    for row in found["learnt"]:
        first = row["first_loss_difference"]
        learnt.append(
            (
                row["network"],
                f"{row['last_loss']:.3f}",
                f"{row['overlap']:.3f}",
                "" if first is None else small(first),
            )
        )
    augmented: list[Any] = [("eight images", "computed", "overlap on them", "on new ones")]
    for row in found["augmented"]:
        augmented += [
            (row["images"], way, f"{row[way]['seen']:.3f}", f"{row[way]['new']:.3f}")
            for way in ("native", "batch space")
        ]
    c = found["checkpoint"]
    sentence = (
        f"A native checkpoint of {c['keys']} tensors, loaded into a converted network: {c['missing']} missing, "
        f"{c['unexpected']} unexpected; the scores differ by {small(c['difference'])}."
    )
    return [
        sentence,
        learnt,
        augmented,
        f"Does it commute with `space_to_batch`, blocks of {found['block']}, to the bit?",
        commutes,
    ]
