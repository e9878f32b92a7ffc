"""`python -m tests.nn.network_table`: published networks at their own sizes, as `spacebatch.convert` decides, run after run.

Each network is converted several times in a row, as a dry run. Beside the decisions stands what the whole network gains when all of
its dilated convolutions are converted, so that a decision to leave it alone can be judged, too. Numbers are float32, weights random;
of networks whose package is not installed, nothing is said.

The file is one JSON object: device, software, command; networks [{name, step, convolutions, chains, runs: [{seconds, replaced: paths,
gain}], gain_of_all, seconds: {before, after}}], or {name, step, failed: why}.
"""

from __future__ import annotations

import argparse
import copy
import json
import shlex
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spacebatch import convert, trials
from spacebatch.nn.converted_class import dilation_of
from spacebatch.perf import networks
from spacebatch.perf.dilated import put_between
from spacebatch.perf.records import write_json
from spacebatch.perf.report import markdown
from spacebatch.timing import compiled_first, hardware, interleaved, software
from tests.nn.real_networks import SMP, monai, smp, timm, transformers, with_weight_norm

MARKS = "<!-- networks: begin -->", "<!-- networks: end -->"
RUNS, BUDGET, ROUNDS = 3, 10.0, 5


class Entry(NamedTuple):
    """A network, where it comes from, and the shape of what it is called with."""

    package: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    training: bool = False


def torchvision(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from torchvision.models import segmentation

        network: nn.Module = getattr(segmentation, name)(weights=None, weights_backbone=None)
        return network

    return make


IMAGE, SQUARE, SOUND, VOLUME = (1, 3, 257, 257), (1, 3, 256, 256), (1, 1, 16384), (1, 1, 48, 48, 48)
POWERS = tuple(2**k for k in range(10))
HIGHRES = monai("HighResNet", spatial_dims=3, in_channels=1, out_channels=2)
CONVNEXT = timm("convnext_tiny", output_stride=8)


def wavenet() -> nn.Module:
    return networks.WaveNet(64, 256, POWERS)


def tcn() -> nn.Module:
    blocks = [networks.TemporalBlock(1 if rate == 1 else 64, 64, rate) for rate in POWERS[:8]]
    return nn.Sequential(*blocks, nn.Conv1d(64, 4, 1))


ENTRIES: dict[str, Entry] = {
    "DeepLabV3, ResNet-50": Entry("torchvision", torchvision("deeplabv3_resnet50"), IMAGE),
    "LRASPP, MobileNetV3": Entry("torchvision", torchvision("lraspp_mobilenet_v3_large"), IMAGE),
    "DeepLabV3+, ResNet-34": Entry(SMP, smp("DeepLabV3Plus", "resnet34"), SQUARE),
    "ResNet-50, output stride 8": Entry("timm", timm("resnet50", output_stride=8), IMAGE),
    "ConvNeXt-T, output stride 8": Entry("timm", CONVNEXT, IMAGE),
    "ConvNeXt-T, output stride 8, trained": Entry("timm", CONVNEXT, IMAGE, True),
    "EfficientNet-B0, output stride 8": Entry("timm", timm("tf_efficientnet_b0", output_stride=8), IMAGE),
    "MobileNetV2 with DeepLabV3+": Entry(
        "transformers",
        transformers("MobileNetV2ForSemanticSegmentation", "MobileNetV2", output_stride=8),
        IMAGE,
    ),
    "HiFi-GAN of SpeechT5": Entry(
        "transformers", with_weight_norm(transformers("SpeechT5HifiGan", "SpeechT5HifiGan")), (1, 64, 80)
    ),
    "DAC": Entry("transformers", transformers("DacModel", "Dac"), SOUND),
    "WaveNet, 64 channels, rates to 512": Entry("spacebatch", wavenet, SOUND),
    "WaveNet, 64 channels, rates to 512, trained": Entry("spacebatch", wavenet, SOUND, True),
    "TCN, 64 channels, rates to 128": Entry("spacebatch", tcn, SOUND),
    "TCN, 64 channels, rates to 128, trained": Entry("spacebatch", tcn, SOUND, True),
    "HighResNet": Entry("monai", HIGHRES, VOLUME),
    "HighResNet, trained": Entry("monai", HIGHRES, (1, 1, 24, 24, 24), True),
}


def measure(name: str, runs: int, budget: float) -> dict[str, Any]:
    """The decisions about one network, run after run, and what all of its convolutions together would gain."""
    entry = ENTRIES[name]
    torch.manual_seed(0)
    network, x = entry.make().train(entry.training), torch.randn(entry.shape)
    record: dict[str, Any] = {
        "name": name,
        "input": list(entry.shape),
        "step": "training step" if entry.training else "inference",
        "convolutions": sum(dilation_of(part) is not None for part in network.modules()),
        "runs": [],
    }
    for _ in range(runs):
        start = time.perf_counter()
        report = convert(network, x, dry_run=True, budget=budget)
        seconds = time.perf_counter() - start
        whole = next((row for row in report.rows if row.kind == "network"), None)
        gain = whole.before.median / whole.after.median if whole and whole.before and whole.after else None
        parts = [row for row in report.rows if row.kind != "network"]
        replaced = sorted(path for row in parts if row.replaced for path in row.where)
        record["chains"] = sum(row.kind == "chain" for row in parts)
        record["runs"].append({"seconds": seconds, "replaced": replaced, "gain": gain, "notes": list(report.notes)})
    record |= whole_in_batch_space(network, x, entry.training)
    return record


def whole_in_batch_space(network: nn.Module, x: Tensor, training: bool) -> dict[str, Any]:
    """The network against a copy with everything converted, round by round in turns."""
    converted = convert(copy.deepcopy(network), x, method="batch_space")
    calls = {
        "before": trials.step(network, lambda: network(x), training),
        "after": trials.step(converted, lambda: converted(x), training),
    }
    found = interleaved(calls, x.device, rounds=ROUNDS, warmup=1)
    before, after = found["before"].median, found["after"].median
    return {"seconds": {"before": before, "after": after}, "gain_of_all": before / after}


def agree(record: dict[str, Any]) -> bool:
    """Whether all runs took the same convolutions."""
    return all(run["replaced"] == record["runs"][0]["replaced"] for run in record["runs"])


def table(data: dict[str, Any]) -> str:
    """The table for the documentation, with the machine and the command."""
    head = ("network, input", "what", "dilated", "chains", "auto, s", "replaced, run by run", "gain", "all of them")
    lines: list[tuple[object, ...]] = [head]
    failed = []
    for record in data["networks"]:
        if "failed" in record:
            failed.append(f"{record['name']} failed: {record['failed']}")
            continue
        runs = record["runs"]
        counts = [str(len(run["replaced"])) for run in runs]
        gains = [run["gain"] for run in runs if run["gain"] and run["replaced"]]
        lines.append(
            (
                *(f"{record['name']}, {'x'.join(map(str, record['input']))}", record["step"], record["convolutions"]),
                *(record["chains"], f"{median(run['seconds'] for run in runs):.1f}"),
                counts[0] if agree(record) else ", ".join(counts),
                f"{median(gains):.2f}x" if gains else "left alone",
                f"{record['gain_of_all']:.2f}x",
            )
        )
    same = sum(agree(record) for record in data["networks"] if "runs" in record)
    total = sum("runs" in record for record in data["networks"])
    return "\n".join(
        [
            f"Measured on {data['device']}, float32; {data['software']}. Reproduce with `{data['command']}`.",
            "",
            markdown(lines),
            "",
            f"The decisions were the same in all {data['runs']} runs for {same} of {total} networks.",
            *failed,
            "",
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 1 if a network failed."""
    parser = argparse.ArgumentParser("python -m tests.nn.network_table", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="WORD", help="networks with this in their name; repeatable")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"conversions in a row (default: {RUNS})")
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS", help="of each conversion")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write what was measured to this file")
    parser.add_argument("--read", type=Path, metavar="JSON", help="measure nothing, report on this file")
    parser.add_argument("--write-docs", type=Path, metavar="PAGE", help="put the table between the marks of this page")
    options = parser.parse_args(arguments)
    if options.runs < 1 or options.budget <= 0:
        parser.error(f"--runs and --budget must be positive, got {options.runs} and {options.budget}")
    if options.read:
        data = json.loads(options.read.read_text(encoding="utf-8"))
    else:
        given = sys.argv[1:] if arguments is None else arguments
        data = {
            "device": hardware(torch.device("cpu")),
            "software": software(),
            "command": shlex.join(["python", "-m", "tests.nn.network_table", *given]),
            "runs": options.runs,
            "networks": [],
        }
        for name, entry in ENTRIES.items():
            if find_spec(entry.package) and (not options.only or any(word in name for word in options.only)):
                data["networks"].append(tried(name, options.runs, options.budget))
                if options.json:
                    write_json(data, options.json)
    print(table(data))
    if options.write_docs:
        put_between(MARKS, table(data), options.write_docs)
    return int(any("failed" in record for record in data["networks"]))


def tried(name: str, runs: int, budget: float) -> dict[str, Any]:
    """What was measured of a network, or why it was not."""
    print(f"{name} …", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        with compiled_first():
            record = measure(name, runs, budget)
    except Exception as error:  # a network's own code; the others are measured all the same
        record = {"name": name, "failed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
    print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return record


if __name__ == "__main__":
    sys.exit(main())
