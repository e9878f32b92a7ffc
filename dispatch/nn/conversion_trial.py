"""A conversion tried on a copy of the network: what its convolutions do, whether anything differs, and how long it takes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from .. import trials
from . import part_timing
from .chains import Chain, record
from .conversion_check import Incomparable, difference
from .conversion_report import Row
from .converted_class import become_atrous, dilation_of
from .leaving import mark_ends
from .progress import Budget, Told


class Trial:
    """One trial; its findings are `rows` and `notes`.

    Args:
        network: a copy, which is converted.
        blocks: its convolutions by path, with the blocks to use instead of the dilation.
        inputs, options: the example.
        asked: whether everything is to be replaced, faster or not.
    """

    def __init__(
        self,
        network: nn.Module,
        blocks: dict[str, tuple[int, ...] | None],
        inputs: tuple[Any, ...],
        options: Mapping[str, Any],
        asked: bool,
    ) -> None:
        self.network, self.example, self.asked = network, (inputs, options), asked
        self.call: Callable[[], Any] = lambda: network(*inputs, **options)
        self.training = network.training and any(parameter.requires_grad for parameter in network.parameters())
        self.layers: dict[str, Any] = {path: network.get_submodule(path) for path in blocks}
        self.rows: list[Row] = []
        self.notes: list[str] = []
        for path, block in blocks.items():
            become_atrous(self.layers[path], "batch_space", block)
        mark_ends(network)

    def choose(self, paths: Collection[str]) -> None:
        """The convolutions of these paths go through the batch; the others are native."""
        _choose(self.layers, paths)

    def run(self) -> list[Chain]:
        """Run the example, and compare; the chains that were found, none where nothing is to be replaced."""
        with record(self.network) as found, torch.set_grad_enabled(self.training):
            try:
                self.call()
            except Exception as error:  # the network's own code; is it an error natively, too?
                self.choose(())
                self.call()
                why = "it fails in batch space"
                self.notes.append(f"taken back: {_said(error)}")
            else:
                why = ""
        chains = found.chains
        self._describe(chains)
        try:
            differs = None if why else difference(self.network, self.call, self._natively, self.training)
            if differs is not None and self._only_rounded():
                self.notes.append(f"{differs} differ by rounding alone: in float64 they are the native network's")
            elif differs is not None:
                why = "its results differ"
                self.notes.append(f"taken back: {differs} would differ from the native network's")
        except Incomparable as reason:
            self.notes.append(f"not compared: {reason}")
        except RuntimeError as error:  # a step that cannot be taken so; the network is as it was
            self.training = False
            self.notes.append(f"not compared: {_said(error)}")
        if why:
            self.rows = [row._replace(replaced=False, why=why) for row in self.rows]
            return []
        return chains

    def _only_rounded(self) -> bool:
        """Whether nothing differs in float64: then rounding set the results apart, as where a number next to 0 meets a ReLU."""
        try:
            wide = copy.deepcopy(self.network).double()
            inputs, options = tree_map(_double, self.example)
            layers = {path: wide.get_submodule(path) for path in self.layers}

            def natively(native: bool) -> None:
                _choose(layers, () if native else layers)

            return difference(wide, lambda: wide(*inputs, **options), natively, self.training) is None
        except Exception:  # the network's own code: it has no float64, or cannot be copied
            return False

    def _natively(self, native: bool) -> None:
        self.choose(() if native else self.layers)

    def _describe(self, chains: list[Chain]) -> None:
        """A row for each chain, and for each convolution that was not called."""
        names = {id(layer): path for path, layer in self.layers.items()}
        silent = dict(self.layers)
        for chain in chains:
            first = chain.calls[0]
            where = tuple(dict.fromkeys(names[id(c.layer)] for c in chain.calls if id(c.layer) in names))
            kind = "chain" if len(chain.calls) > 1 else "convolution"
            rate = first.rate or rate_of(first.layer)
            self.rows.append(Row(kind, where, rate, None, None, True, "asked for", tuple(chain.ends)))
            for path in where:
                silent.pop(path, None)
        for path, layer in silent.items():
            why = "not called with the example input"
            self.rows.append(Row("convolution", (path,), rate_of(layer), None, None, self.asked, why))

    def measure(self, chains: list[Chain], device: torch.device, seconds: float, tell: Told) -> None:
        """Time the chains, those of one geometry once, and then the whole network."""
        known: dict[Any, Any] = {part_timing.signature(chain): None for chain in chains}
        runs = 2 * (trials.ROUNDS + trials.WARMUP)
        budget = Budget(seconds, len(known), self._once(), runs, tell)
        for k, chain in enumerate(chains):
            key, row = part_timing.signature(chain), self.rows[k]
            if known[key] is None and budget.allows(" ".join(row.where)):
                calls = part_timing.calls_of(chain, device, self.training)
                known[key] = trials.timings(calls, device, part_timing.ROUNDS, budget.until)
                budget.measured += 1
            times = known[key]
            if times is None:
                self.rows[k] = row._replace(replaced=self.asked, why="the budget was spent before")
                continue
            gain = trials.gains(times["before"], times["after"])
            why = "asked for" if self.asked else "faster" if gain else "not faster beyond noise"
            self.rows[k] = row._replace(**times, replaced=self.asked or gain, why=why)
        late = [row for row in self.rows if row.why == "the budget was spent before"]
        if late:
            self.notes.append(
                f"the budget of {seconds:g} s did not suffice for {len(late)} of {len(chains)} parts; all of it would take about "
                f"{budget.needed:.0f} s"
            )
        self._measure_the_whole(device, budget.until)

    def _measure_the_whole(self, device: torch.device, until: float) -> None:
        replaced = {path for row in self.rows if row.replaced for path in row.where}
        if not replaced:
            return

        def step_with(paths: Collection[str]) -> Callable[[], object]:
            def call() -> Any:
                self.choose(paths)
                return self.call()

            return trials.step(self.network, call, self.training)

        times = trials.timings({"before": step_with(()), "after": step_with(replaced)}, device, until=until)
        kept = self.asked or trials.gains(times["before"], times["after"])
        if not kept:
            why = "the network as a whole was not faster beyond noise"
            self.rows = [row._replace(replaced=False, why=why) if row.replaced else row for row in self.rows]
        where = (type(self.network).__name__,)
        self.rows.append(Row("network", where, (), times["before"], times["after"], kept, "the whole of it"))

    def _once(self) -> float:
        """Seconds of one native step."""
        self.choose(())
        start = time.perf_counter()
        trials.step(self.network, self.call, self.training)()
        return time.perf_counter() - start


def rate_of(layer: Any) -> tuple[int, ...]:
    """The blocks that a convolution is to have."""
    return getattr(layer, "rate", None) or dilation_of(layer) or ()


def _choose(layers: Mapping[str, Any], paths: Collection[str]) -> None:
    for path, layer in layers.items():
        layer.method = "batch_space" if path in paths else "native"


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
