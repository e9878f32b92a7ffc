"""`python -m spacebatch.perf tune`: measure tile sizes on this GPU and keep the best."""

from __future__ import annotations

import argparse

import torch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    parser.add_argument("--budget", type=float, default=300.0, metavar="SECONDS", help="default: %(default)s")


def main(options: argparse.Namespace) -> int:
    """Measure, and print what was found."""
    if not torch.cuda.is_available():
        raise ValueError("this PyTorch sees no CUDA or ROCm device")
    from spacebatch.tl_kernels.measure import default_calls, tune
    from spacebatch.tl_kernels.tuning import table

    found = tune(default_calls(options.quick), budget_seconds=options.budget)
    print(f"{'bucket':<72}{'best':<24}{'us':>9}{'rule us':>9}{'gain':>7}")
    for tuned in found:
        config = "/".join(map(str, tuned.config))
        print(
            f"{tuned.bucket:<72}{config:<24}{tuned.seconds * 1e6:>9.1f}{tuned.rule_seconds * 1e6:>9.1f}{tuned.speedup:>6.2f}x"
        )
    print(f"kept in {table(torch.cuda.get_device_name()).path}")
    return 0
