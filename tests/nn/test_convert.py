"""`spacebatch.convert` and `choose_block`: what is replaced, what is measured, and that nothing else changes."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle
import time
from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from spacebatch import Conversion, choose_block, convert, timing, trials
from spacebatch.nn import AtrousConv1d, AtrousConv2d
from spacebatch.nn.batch_space_tensor import is_value
from spacebatch.nn.conversion_report import Row
from spacebatch.perf.networks import ResidualBlock
from spacebatch.timing import Timing
from tests.same_networks import all_results
from tests.same_networks import assert_same_in_both_modes as assert_same


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Times made up, by the name of the call, and the half of their spread; every call still runs once."""
    times: dict[str, Any] = {"before": 2.0, "after": 1.0, "spread": 0.0, "calls": []}

    def interleaved(calls: Any, device: torch.device, **_: Any) -> dict[str, Timing]:
        for call in calls.values():
            call()
        times["calls"].append(tuple(calls))
        found = {name: times.get(name, float(name) if name.isdigit() else 1.0) for name in calls}
        return {name: Timing(t, t - times["spread"], t + times["spread"], 9) for name, t in found.items()}

    monkeypatch.setattr(trials, "interleaved", interleaved)
    return times


def dilated(channels: int, rate: int, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, **options)


def block(channels: int, rate: int) -> nn.Module:
    return ResidualBlock(channels, channels, rate)


class Network(nn.Module):
    """Two stages of different rates, one convolution alone, a head that pools, and a module that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.stages = nn.Sequential(block(4, 2), block(4, 2), block(4, 3), block(4, 3))
        self.alone = nn.Conv2d(4, 4, 3, padding=1, dilation=4)
        self.head, self.unused = nn.Linear(4, 2), dilated(4, 2)
        self.register_buffer("offset", torch.ones(()))

    def forward(self, x: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
        x = self.alone(self.stages(self.stem(x)))
        if mask is not None:
            x = x * mask
        return self.head(x.mean((2, 3))) * options.get("scale", 1.0) + self.offset


class Own(nn.Conv2d):
    """A class without a forward of its own."""


class Doubled(nn.Conv2d):
    """One with it."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


class Standardized(nn.Conv2d):
    """One that convolves by itself, with weights made of its own."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(input, weight, self.bias, 1, self.padding, self.dilation)


def standardized(rate: int) -> nn.Module:
    return Standardized(3, 3, 3, padding=rate, dilation=rate)


class Transposed(nn.ConvTranspose2d):
    """One with a forward of its own, that is not the reverse of another."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(input, output_size) * 2


def transposed(kind: type[nn.ConvTranspose2d] = nn.ConvTranspose2d, **options: Any) -> nn.Module:
    return kind(3, 3, 3, **{"padding": 2, "dilation": 2, **options})


def inputs(*size: int) -> Tensor:
    return torch.randn(2, 3, *(size or (13, 11)), dtype=torch.double, generator=torch.Generator().manual_seed(0))


def made(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().double()


STAGES = [tuple(f"stages.{k}.{name}" for k in pair for name in ("first", "second")) for pair in ((0, 1), (2, 3))]
FOUND: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], list[tuple[Any, ...]]]] = {
    "two stages": (
        Network,
        {},
        [
            ("chain", STAGES[0], (2, 2)),
            ("chain", STAGES[1], (3, 3)),
            ("convolution", ("alone",), (4, 4)),
            ("convolution", ("unused",), (2, 2)),
        ],
    ),
    "blocks of another size": (
        lambda: nn.Sequential(dilated(3, 4), nn.ReLU(), dilated(3, 2), dilated(3, 3)),
        {"rate": 2},
        [("chain", ("0", "2"), (2, 2))],
    ),
    "classes of its own": (
        lambda: nn.Sequential(Own(3, 3, 3, padding=2, dilation=2), Doubled(3, 3, 3, padding=2, dilation=2)),
        {},
        [("chain", ("0", "1"), (2, 2))],
    ),
    "classes that convolve by themselves": (
        lambda: nn.Sequential(standardized(2), nn.ReLU(), standardized(2), standardized(3), standardized(3)),
        {},
        [("chain", ("0", "2"), (2, 2)), ("chain", ("3", "4"), (3, 3))],
    ),
    "transposed": (
        lambda: nn.Sequential(
            *(transposed(), nn.ReLU(), transposed(Transposed), dilated(3, 2)),
            *(transposed(stride=2, output_padding=1), transposed(dilation=3, padding=1)),
        ),
        {},
        [("chain", ("0", "2", "3"), (2, 2)), ("convolution", ("5",), (3, 3))],
    ),
    "a convolution by itself": (lambda: dilated(3, 2), {}, [("convolution", ("",), (2, 2))]),
    "nothing dilated": (lambda: nn.Sequential(nn.Conv2d(3, 3, 3)), {}, []),
}


@pytest.mark.parametrize("name", FOUND)
def test_found_and_equal(name: str) -> None:
    make, options, expected = FOUND[name]
    model = made(make)
    converted = convert(copy.deepcopy(model), inputs(), method="batch_space", **options)
    report = converted.conversion
    assert isinstance(report, Conversion)
    assert [(row.kind, row.where, row.rate) for row in report.rows] == expected
    assert all(row.replaced for row in report.rows)
    assert report.notes == ()
    assert type(model) is not nn.Conv2d or type(converted) is AtrousConv2d
    assert_same(model, converted, inputs())
    assert_same(model, converted, inputs(12, 24))


def test_without_an_example_every_convolution_is_replaced() -> None:
    converted = convert(made(Network), method="batch_space")
    assert [row.where[0] for row in converted.conversion.rows] == [*STAGES[0], *STAGES[1], "alone", "unused"]  # type: ignore[union-attr]
    assert_same(made(Network), converted, inputs())


class AddsUp(nn.Sequential):
    """What it returns is used once more, for a second result."""

    def forward(self, x: Tensor) -> Any:
        y = super().forward(x)
        return y, y.square().mean((2, 3)), nn.functional.interpolate(y, scale_factor=2.0)


@pytest.mark.parametrize("training", [True, False])
def test_results_from_which_others_were_computed(training: bool) -> None:
    model = made(lambda: AddsUp(dilated(3, 2), nn.ReLU(), dilated(3, 2))).train(training)
    converted = convert(copy.deepcopy(model), inputs(), method="batch_space")
    report: Any = converted.conversion
    assert (report.notes, [row.replaced for row in report.rows]) == ((), [True])
    torch.testing.assert_close(all_results(converted, inputs()), all_results(model, inputs()), rtol=1e-9, atol=1e-9)


def test_what_ended_each_chain() -> None:
    rows = convert(made(Network), inputs(), method="batch_space").conversion.rows  # type: ignore[union-attr]
    assert [row.ended for row in rows] == [
        ("a convolution of another geometry in stages.2.first",),
        ("a convolution of another geometry in alone",),
        (),  # its padding is no multiple of its dilation: it moves by itself
        (),
    ]
    assert rows[-1].why == "not called with the example input"


def test_only_the_class_of_convolutions_changes() -> None:
    """The model is the same object, with its tensors, attributes, methods, hooks and containers."""
    model = made(Network)
    modules, parameters = dict(model.named_modules()), list(model.parameters())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random, seen = torch.get_rng_state(), []
    model.stages.register_forward_hook(lambda *_: seen.append("container"))
    model.register_forward_hook(lambda *_: seen.append("root"))
    converted = convert(model, inputs(), method="batch_space")
    seen.clear()
    converted(inputs(), scale=2.0)
    assert seen == ["container", "root"]
    assert converted is model
    assert dict(model.named_modules()) == modules
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert isinstance(model, Network)
    assert type(model.alone) is AtrousConv2d
    assert isinstance(model.stages[0].first, nn.Conv2d)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items() if "norm" not in name)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in parameters)
    model.load_state_dict(made(Network).state_dict())


def test_trying_it_does_not_touch_the_network() -> None:
    """Counters, kept tensors and running statistics: the example runs on a copy."""

    class Counting(Network):
        runs = 0

        def forward(self, x: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
            self.runs += 1
            return super().forward(x, mask, **options)

    model = convert(made(Counting), inputs(), method="batch_space")
    assert model.runs == 0
    assert model.stages[0].first_norm.num_batches_tracked == 0  # type: ignore[index,union-attr]


def saved(network: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(network, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda network: pickle.loads(pickle.dumps(network)),
    "save": saved,
    "twice": lambda network: convert(network, inputs(), method="batch_space"),
    "traced": torch.fx.symbolic_trace,
    "SyncBatchNorm": nn.SyncBatchNorm.convert_sync_batchnorm,
    "exported": lambda network: torch.export.export(network, (inputs(),), strict=False).module(),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies(name: str) -> None:
    def layers() -> nn.Module:
        return nn.Sequential(
            Own(3, 3, 3, padding=2, dilation=2), nn.BatchNorm2d(3), Doubled(3, 3, 3, padding=2, dilation=2)
        )

    model = made(layers).eval()
    converted = COPIES[name](convert(copy.deepcopy(model), method="batch_space"))
    torch.testing.assert_close(converted(inputs()), model(inputs()))
    if name in ("deepcopy", "pickle", "save", "twice"):
        assert isinstance(converted[0], Own)
        assert isinstance(converted[0], AtrousConv2d)
        assert_same(model, converted, inputs())


def test_parametrized_weights() -> None:
    """Of both kinds, evaluated once a call; what is removed or added later is as ever."""

    def layers() -> nn.Module:
        with pytest.warns(FutureWarning):
            old = nn.utils.weight_norm(dilated_1d())
        return nn.Sequential(old, nn.ReLU(), weight_norm(dilated_1d()), spectral_norm(dilated_1d()))

    model = made(layers)
    converted = convert(made(layers), torch.zeros(1, 3, 11, dtype=torch.double), method="batch_space")
    assert [row.where for row in converted.conversion.rows] == [("0", "2", "3")]  # type: ignore[union-attr]
    x = torch.linspace(-1, 1, 84, dtype=torch.double).view(2, 3, 14)
    for network in (model, converted):
        with torch.no_grad():
            for k, parameter in enumerate(network.parameters()):
                parameter.add_(0.1 * k)  # as after a step of an optimizer
    for _ in range(2):
        torch.testing.assert_close(all_results(converted, x), all_results(model, x), rtol=1e-9, atol=1e-9)
    for network in (model, converted):
        parametrize.remove_parametrizations(network[2], "weight")
        parametrize.register_parametrization(network[2], "bias", nn.Tanh())
        network[1] = weight_norm(dilated_1d())
    assert isinstance(converted[2], AtrousConv1d)
    torch.testing.assert_close(converted(x), model(x))


def dilated_1d() -> nn.Conv1d:
    torch.manual_seed(3)
    return nn.Conv1d(3, 3, 3, padding=2, dilation=2).double()


Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class Output:
    logits: Tensor
    hidden: tuple[Tensor, ...] = ()


CONTAINERS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda y: y,
    "list": lambda y: [y, [y * 2]],
    "dict": lambda y: OrderedDict(a=y, b={"c": (y,)}),
    "namedtuple": lambda y: Pair(y, None),
    "dataclass": lambda y: Output(y, (y * 2,)),
    "dataclass in a list": lambda y: [Output(y)],
    "deque": lambda y: deque([y, y * 2]),
    "mapping": lambda y: UserDict(a=[y]),
    "namespace": lambda y: SimpleNamespace(a=y, b=(y,)),
}


def leaves(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if dataclasses.is_dataclass(result):
        return leaves([getattr(result, field.name) for field in dataclasses.fields(result)])
    if isinstance(result, SimpleNamespace):
        return leaves(vars(result))
    parts = list(result.values()) if isinstance(result, Mapping) else result
    return [leaf for part in parts for leaf in leaves(part)] if isinstance(parts, (tuple, list, deque)) else []


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_leaves_the_network_are_images(name: str) -> None:
    class Contained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = dilated(3, 2)

        def forward(self, x: Tensor) -> Any:
            return CONTAINERS[name](self.conv(x))

    model = made(Contained).eval().requires_grad_(False)
    converted = convert(copy.deepcopy(model), method="batch_space")
    assert is_value(converted.conv(inputs()))
    expected, found = model(inputs()), converted(inputs())
    assert type(found) is type(expected)
    assert leaves(found)
    assert [type(leaf) for leaf in leaves(found)] == [Tensor] * len(leaves(expected))
    torch.testing.assert_close(leaves(found), leaves(expected))


def test_a_container_in_itself() -> None:
    class Circular(Wrong):
        def forward(self, x: Tensor) -> Any:
            found = {"y": self.conv(x)}
            found["again"] = found
            return found

    converted = convert(made(lambda: Circular("")).requires_grad_(False), method="batch_space")
    assert type(converted(inputs())["again"]["y"]) is Tensor


def test_layers_changed_afterwards() -> None:
    """What a layer is when it is called counts, not what it was when the network was converted."""

    def edit(network: Any) -> None:
        network[1] = nn.GroupNorm(1, 3)
        network[2].padding_mode, network[2]._reversed_padding_repeated_twice = "circular", [2] * 4
        network[3].dilation = network[3].padding = (3, 3)

    model = made(lambda: nn.Sequential(dilated(3, 2), nn.BatchNorm2d(3), dilated(3, 2), dilated(3, 2)))
    converted = convert(copy.deepcopy(model), method="batch_space")
    for network in (model, converted):
        torch.manual_seed(1)
        edit(network)
        network.double()
    assert_same(model, converted, inputs())


@pytest.mark.parametrize(("after", "spread", "replaced"), [(1.0, 0.0, True), (1.96, 0.0, False), (1.0, 0.6, False)])
def test_auto_replaces_what_is_faster(clock: dict[str, Any], after: float, spread: float, replaced: bool) -> None:
    """By 3% and with the quartiles apart; parts of one geometry are timed once."""
    clock["after"], clock["spread"] = after, spread
    converted = convert(
        nn.Sequential(
            *(layer for _ in range(3) for layer in (dilated(3, 2), nn.Flatten(1), nn.Unflatten(1, (3, 12, 12))))
        )
        .double()
        .eval(),
        inputs(12, 12),
    )
    report = converted.conversion
    assert isinstance(report, Conversion)
    assert {row.replaced for row in report.rows} == {replaced}
    assert report.measured == "inference"
    assert type(converted[0]) is (AtrousConv2d if replaced else nn.Conv2d)
    assert [row.kind for row in report.rows].count("convolution") == 3
    assert [row.kind for row in report.rows].count("network") == replaced
    assert len(clock["calls"]) == 1 + replaced
    assert f"{2 / after:.2f}x" in str(report)


def test_auto_gives_up_where_the_whole_is_not_faster(clock: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    times = trials.timings

    def timings(calls: Any, device: Any, *rounds: Any, **until: Any) -> Any:
        found = times(calls, device, *rounds, **until)
        return found if rounds else {name: Timing(1.0, 1.0, 1.0, 9) for name in found}

    monkeypatch.setattr(trials, "timings", timings)
    converted = convert(made(Network).eval(), inputs())
    assert type(converted.alone) is nn.Conv2d
    assert not any(row.replaced for row in converted.conversion.rows)  # type: ignore[union-attr]
    assert "the network as a whole was not faster" in str(converted.conversion)


@pytest.mark.parametrize(
    ("before", "until", "runs"), [(1.05, 60.0, 35), (1.5, 60.0, 7), (0.9, 60.0, 7), (1.05, 0.0, 7)]
)
def test_a_close_choice_gets_more_rounds(
    before: float, until: float, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"before": before, "after": 1.0}
    monkeypatch.setattr(timing, "clock_of", lambda _: lambda calls: [(name, seconds[name]) for name, _ in calls])
    calls = dict.fromkeys(seconds, int)
    found = trials.timings(calls, torch.device("cpu"), until=time.monotonic() + until)
    assert {name: (times.median, times.runs) for name, times in found.items()} == {
        name: (seconds[name], runs) for name in seconds
    }


def test_no_budget_measures_nothing(clock: dict[str, Any]) -> None:
    report = convert(made(Network).eval(), inputs(), budget=0.0).conversion
    assert clock["calls"] == []
    assert "the budget was spent" in str(report)


def test_progress(clock: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Before each part: how many are measured, and a forecast, which ends within the budget."""
    seen: list[Any] = []
    report = convert(made(Network).eval(), inputs(), progress=seen.append).conversion
    assert [(p.measured, p.parts, p.part.split()[0]) for p in seen] == [
        *((0, 3, "stages.0.first"), (1, 3, "stages.2.first"), (2, 3, "alone")),
    ]
    assert all(p.remaining > 0 and p.seconds + p.remaining <= 30 for p in seen)
    assert [p.seconds for p in seen] == sorted(p.seconds for p in seen)
    assert report.notes == ()  # type: ignore[union-attr]
    convert(made(Network).eval(), inputs(), progress=True)
    assert "of 3 parts measured in" in capsys.readouterr().err
    convert(made(Network).eval(), inputs())
    assert capsys.readouterr().err == ""


def test_what_the_budget_does_not_suffice_for(clock: dict[str, Any]) -> None:
    report: Any = convert(made(Network).eval(), inputs(), budget=0.2, progress=lambda _: time.sleep(0.3)).conversion
    assert [row.before is not None for row in report.rows] == [True, False, False, False, True]
    assert [row.replaced for row in report.rows] == [True, False, False, False, True]
    assert report.notes[0].startswith(
        "the budget of 0.2 s did not suffice for 2 of 3 parts; all of it would take about "
    )


def test_a_dry_run_only_reports(clock: dict[str, Any]) -> None:
    model = made(Network)
    report = convert(model, inputs(), dry_run=True)
    assert isinstance(report, Conversion)
    assert report.measured == "training step"
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.stages[0].first_norm.num_batches_tracked == 0
    assert not hasattr(model, "conversion")
    assert type(model.alone) is nn.Conv2d
    assert not model._forward_hooks


def test_really_measured() -> None:
    """With the real clock, in both modes: there are times, and what is replaced follows from them."""
    for training in (True, False):
        report = convert(made(Network).train(training), inputs(), dry_run=True)
        for row in report.rows[:3]:
            assert row.before is not None
            assert row.after is not None
            assert row.before.median > 0 < row.after.median
            assert not row.replaced or row.before.lower > row.after.upper


class Wrong(nn.Module):
    """Counts its runs, so that no two of them are alike, or tells values from images."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.conv, self.kind = dilated(3, 2), kind

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        if self.kind == "random":
            return h * torch.rand(())
        if is_value(h) and self.kind == "raises":
            raise ZeroDivisionError("not so")
        if self.kind == "gradient" and is_value(h):
            return h * 2 - h.detach()
        if self.kind == "rounding" and is_value(h):
            return h + 1e5 * torch.finfo(h.dtype).eps
        return h + is_value(h) if self.kind == "differs" else h


def test_a_gradient_that_is_rounding_errors_alone_is_no_difference() -> None:
    """That of a bias before a norm is zero but for these."""
    torch.manual_seed(0)
    layers = [layer for _ in range(2) for layer in (dilated(3, 2), nn.BatchNorm2d(3), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Conv2d(3, 2, 1))
    model.register_buffer("flags", torch.ones(2) > 0)
    converted = convert(model, inputs(40, 41).float(), method="batch_space")
    assert converted.conversion.notes == ()  # type: ignore[union-attr]
    assert type(converted[0]) is AtrousConv2d


@pytest.mark.parametrize(
    ("kind", "replaced", "note"),
    [
        ("differs", False, "taken back: outputs (number 0) would differ"),
        ("gradient", False, "taken back: gradients (number 0) would differ"),
        ("raises", False, "taken back: ZeroDivisionError: not so"),
        ("random", True, "not compared: two native runs differ as well"),
    ],
)
def test_compared_with_the_native_network(kind: str, replaced: bool, note: str) -> None:
    converted = convert(made(lambda: Wrong(kind)), inputs(), method="batch_space")
    assert (type(converted.conv) is AtrousConv2d) == replaced
    assert note in str(converted.conversion)


@pytest.mark.parametrize("wide", [True, False])
def test_float64_tells_rounding_from_a_difference(wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of many products may differ by more than any limit, where a ReLU cuts at 0; a network without float64 stays as it is."""
    model = made(lambda: Wrong("rounding")).float()
    if not wide:
        monkeypatch.setattr(Wrong, "double", lambda self: 1 / 0)
    converted = convert(model, inputs().float(), method="batch_space")
    assert (type(converted.conv) is AtrousConv2d) == wide
    note = "outputs (number 0) differ by rounding alone" if wide else "taken back: outputs (number 0) would differ"
    assert note in str(converted.conversion)
    assert converted.conv.weight.dtype == torch.float32


def test_compiled() -> None:
    """Whole, with values in the graph; a part of it alone; and broken between two convolutions."""
    torch.compiler.reset()
    model = made(lambda: nn.Sequential(dilated(3, 2), nn.BatchNorm2d(3), nn.ReLU(inplace=True), dilated(3, 2)))
    converted = convert(copy.deepcopy(model), method="batch_space")
    graphs: list[Any] = []

    def kept(graph: torch.fx.GraphModule, example: Any) -> Any:
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, example)

    compiled = torch.compile(converted, fullgraph=True, backend=kept)
    x = inputs()
    torch.testing.assert_close(all_results(compiled, x)[0], all_results(model, x)[0])
    convolutions = [node for node in graphs[0].graph.nodes if "conv2d" in str(node.target)]
    assert all(node.args[5] == (1, 1) for node in convolutions)
    assert sum("permute" in str(node.target) for node in graphs[0].graph.nodes) == 2
    part = torch.compile(converted[0], fullgraph=True, backend="eager")
    assert type(part(x)) is Tensor
    torch.compiler.reset()


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = dilated(3, 2), dilated(3, 2)

    def forward(self, x: Tensor) -> Any:
        h = self.first(x)
        torch._dynamo.graph_break()
        assert isinstance(h, Tensor)
        return {"results": [self.second(h.relu()), h.mean()]}


def test_a_graph_that_breaks_where_a_value_is_alive() -> None:
    torch.compiler.reset()
    model = made(Broken)
    compiled = torch.compile(convert(copy.deepcopy(model), method="batch_space"), backend="eager")
    found = compiled(inputs())["results"]
    assert [type(part) for part in found] == [Tensor, Tensor]
    torch.testing.assert_close(found, model(inputs())["results"])
    torch.compiler.reset()


def test_exported_with_open_sizes() -> None:
    height = torch.export.Dim("height", min=8, max=64)
    model = made(lambda: nn.Sequential(dilated(3, 2), nn.ReLU(), dilated(3, 2))).eval()
    converted = convert(copy.deepcopy(model), method="batch_space")
    program = torch.export.export(converted, (inputs(12, 12),), dynamic_shapes=({2: height},)).module()
    for size in (12, 13, 30):
        torch.testing.assert_close(program(inputs(size, 12)), model(inputs(size, 12)))


def test_meta_and_fake_tensors() -> None:
    model = made(Network).to("meta")
    converted = convert(copy.deepcopy(model), method="batch_space")
    x = torch.empty(2, 3, 13, 11, device="meta", dtype=torch.double)
    assert converted(x).shape == model(x).shape
    with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True):
        layers = nn.Sequential(dilated(3, 2), nn.ReLU(), dilated(3, 2))
        assert convert(layers, method="batch_space")(torch.empty(2, 3, 13, 11)).shape == (2, 3, 13, 11)


def test_transforms() -> None:
    """vmap, jvp and functional calls meet images alone."""
    model = made(lambda: nn.Sequential(dilated(3, 2), nn.ReLU(), dilated(3, 2)))
    converted = convert(copy.deepcopy(model), method="batch_space")
    x = inputs()
    torch.testing.assert_close(torch.vmap(converted)(x[None]), model(x)[None])
    _, found = torch.func.jvp(converted, (x,), (x,))
    _, expected = torch.func.jvp(model, (x,), (x,))
    torch.testing.assert_close(found, expected)
    state = {name: tensor * 2 for name, tensor in model.state_dict().items()}
    torch.testing.assert_close(*(torch.func.functional_call(net, state, (x,)) for net in (converted, model)))


def test_nothing_is_kept_from_call_to_call() -> None:
    """An input may be written to in ways that autograd does not see; `gradcheck` does so."""
    model = made(lambda: nn.Sequential(dilated(1, 2), nn.Tanh(), dilated(1, 2)))
    converted = convert(copy.deepcopy(model), method="batch_space")
    x = torch.randn(1, 1, 4, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(converted, (x,), fast_mode=True)
    for call in (converted, converted[0]):
        before = call(x)
        x.data.mul_(2)
        assert not torch.allclose(call(x), before)
    with pytest.raises(ValueError, match="input must be 4-D"):
        converted(x[0, 0])
    torch.testing.assert_close(converted(x), model(x))


def test_modes_inside_a_forward() -> None:
    """A frozen half, and a half without autocast."""

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = (nn.Sequential(dilated(3, 2), nn.ReLU(), dilated(3, 2)) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.backbone(x)
            with torch.autocast("cpu", enabled=False):
                return self.head(x.float())

    torch.manual_seed(0)
    model = Halves()
    converted = convert(copy.deepcopy(model), method="batch_space")
    x = inputs().float()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = model(x), converted(x)
    assert found.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=5e-2, atol=5e-2)  # bfloat16 in the first half
    found.sum().backward()
    assert all(p.grad is None for p in converted.backbone.parameters())
    assert all(p.grad is not None for p in converted.head.parameters())


def test_choose_block_of_a_convolution(clock: dict[str, Any]) -> None:
    """The made-up time of a block is its size, so that the smallest wins."""
    conv = nn.Conv2d(3, 3, 3, padding=4, dilation=8).double()
    chosen = choose_block(conv, inputs(24, 24))
    assert chosen.seconds == {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}
    assert (chosen.block, chosen.measured) == (1, "training step")
    assert "<- fastest" in str(chosen).splitlines()[0]
    assert type(conv) is nn.Conv2d


def test_choose_block_of_a_network() -> None:
    chosen = choose_block(made(Network).eval(), inputs(), candidates=[2, 3, 5])
    assert set(chosen.seconds) == {1, 2, 3}
    assert chosen.skipped == {5: "no dilation of the network is a multiple of it"}
    assert chosen.seconds[chosen.block] == min(chosen.seconds.values())
    assert chosen.measured == "inference"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: convert(3), TypeError, r"convert: model must be a torch.nn.Module, got int"),
        (lambda: convert(nn.ReLU(), method="native"), ValueError, r"convert: method must be one of .* got 'native'"),
        (lambda: convert(nn.ReLU()), ValueError, r"convert: inputs are needed to measure"),
        *(
            (
                lambda rate=rate: convert(dilated(3, 2), method="batch_space", rate=rate),
                error,
                rf"convert: rate.*{message}",
            )
            for rate, error, message in (
                (0, ValueError, "at least 1, got 0"),
                (2.0, TypeError, "got 2.0"),
                (True, TypeError, "got the bool True"),
                ("a", TypeError, "got 'a'"),
                ((2, 2, 2), ValueError, "has 3 entries for 2 spatial dims"),
            )
        ),
        (lambda: choose_block(3), TypeError, r"choose_block: model must be a torch.nn.Module, got int"),
        (lambda: choose_block(dilated(1, 2)), ValueError, r"choose_block: inputs are needed"),
        (lambda: choose_block(nn.ReLU(), 1), ValueError, r"choose_block: ReLU has no dilated convolution"),
        (lambda: choose_block(dilated(3, 2), 1, candidates=[0]), ValueError, r"choose_block: candidates\[0\] .* got 0"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_the_table_lines_up() -> None:
    before, after = Timing(1e-3, 9e-4, 1.1e-3, 9), Timing(5e-4, 5e-4, 5e-4, 9)
    rows = (
        Row("chain", ("a", "b", "c"), (2, 2), before, after, True, "faster", ("mean in head",)),
        Row("convolution", ("a.very.long.path",), (16,), None, None, False, "not called with the example input"),
    )
    lines = str(Conversion(rows, "inference", ("x was taken back",))).splitlines()
    assert lines[1].split()[:8] == ["chain", "a", "…", "c", "(3)", "2x2", "1.000", "±0.100"]
    assert lines[1].endswith("mean in head")
    assert lines[2].index("no:") == lines[1].index("yes:") == lines[0].index("replaced")
    assert lines[-1] == "note: x was taken back"
