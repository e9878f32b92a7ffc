"""`spacebatch.convert` and `choose_block`: what is found, what is replaced, and that nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spacebatch import Conversion, choose_block, convert, trials
from spacebatch.nn import AtrousConv2d
from spacebatch.nn.conversion_report import Row
from spacebatch.nn.convert_network import GAIN
from spacebatch.perf.networks import ResidualBlock
from tests.same_networks import assert_same_in_both_modes as assert_same


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Times made up, by the name of the call; every call still runs once."""
    times = {"before": 2.0, "after": 1.0}

    def interleaved(calls: Any, device: torch.device, **_: Any) -> dict[str, Any]:
        for call in calls.values():
            call()
        return {
            name: type("Timing", (), {"median": times.get(name, float(name) if name.isdigit() else 1.0)})
            for name in calls
        }

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
        self.head, self.unused = nn.Linear(4, 2), nn.Linear(1, 1)
        self.register_buffer("offset", torch.ones(()))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.alone(self.stages(self.stem(x)))
        if mask is not None:
            x = x * mask
        return self.head(x.mean((2, 3))) + self.offset


class Branching(nn.Module):
    """Cannot be traced as a whole; its parts can."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.alone = block(3, 2), dilated(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 1e9:
            return x
        return self.alone(self.inner(x))


def inputs(*size: int) -> Tensor:
    return torch.randn(2, 3, *(size or (13, 11)), dtype=torch.double, generator=torch.Generator().manual_seed(0))


def made(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().double()


class Sized(nn.Module):
    """Asks for a size in the middle, takes a part of the channels out, and uses a value twice outside."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = dilated(3, 2), dilated(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        a, b = y.chunk(2, dim=1)
        scale = 1.0 / (y.shape[2] * y.size(3))
        z = self.second(torch.cat([a, b], 1))
        return z * scale + y.mean((2, 3), keepdim=True) + y


class Excited(Sized):
    """Squeeze-excite between two dilated convolutions ends a chain, with a batch of one sample as well."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.second(y * y.mean((2, 3), keepdim=True).sigmoid())


class Own(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


STAGES = [tuple(f"stages.{k}.{name}" for k in pair for name in ("first", "second")) for pair in ((0, 1), (2, 3))]
CONVOLUTIONS = [*STAGES[0], *STAGES[1], "alone"]

# name: (network, samples of the example or None for no example, options, what is found: kind, where, rate)
FOUND: dict[str, tuple[Callable[[], nn.Module], int | None, dict[str, Any], list[tuple[Any, ...]]]] = {
    "two stages": (
        Network,
        2,
        {},
        [("chain", STAGES[0], (2, 2)), ("chain", STAGES[1], (3, 3)), ("convolution", ("alone",), (4, 4))],
    ),
    "parts of what cannot be traced": (
        Branching,
        2,
        {},
        [("chain", ("inner.first", "inner.second"), (2, 2)), ("convolution", ("alone",), (3, 3))],
    ),
    "sizes, and values that leave": (Sized, 2, {}, [("chain", ("first", "second"), (2, 2))]),
    "what mixes positions": (Excited, 1, {}, [("convolution", (name,), (2, 2)) for name in ("first", "second")]),
    "blocks of another size": (
        lambda: nn.Sequential(dilated(3, 4), nn.ReLU(), dilated(3, 2), dilated(3, 3)),
        2,
        {"rate": 2},
        [("chain", ("0", "2"), (2, 2))],
    ),
    "a class of its own is left alone": (
        lambda: nn.Sequential(Own(3, 3, 3, padding=2, dilation=2), dilated(3, 2)),
        2,
        {},
        [("convolution", ("1",), (2, 2))],
    ),
    "no example, so one by one": (
        Network,
        None,
        {},
        [("convolution", (name,), (k,) * 2) for name, k in zip(CONVOLUTIONS, [2] * 4 + [3] * 4 + [4], strict=True)],
    ),
    "a convolution by itself": (lambda: dilated(3, 2), 2, {}, [("convolution", ("",), (2, 2))]),
    "nothing dilated": (lambda: nn.Sequential(nn.Conv2d(3, 3, 3)), 2, {}, []),
}


@pytest.mark.parametrize("name", FOUND)
def test_found_and_equal(name: str) -> None:
    make, samples, options, expected = FOUND[name]
    model = made(make)
    example = () if samples is None else (inputs()[:samples],)
    converted = convert(copy.deepcopy(model), *example, method="batch_space", **options)
    report = converted.conversion
    assert isinstance(report, Conversion)
    assert [(row.kind, row.where, row.rate) for row in report.rows] == expected
    assert all(row.replaced for row in report.rows)
    assert ("could not be traced whole: TraceError" in str(report)) == (make is Branching)
    assert type(model) is not nn.Conv2d or type(converted) is AtrousConv2d
    assert_same(model, converted, inputs())
    assert_same(model, converted, inputs(12, 24))


def test_the_model_stays_and_shares_its_tensors() -> None:
    model = made(Network)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    converted = convert(model, inputs(), method="batch_space")
    assert type(model.alone) is nn.Conv2d
    assert type(converted.alone) is AtrousConv2d
    assert list(converted.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(a is b for a, b in zip(model.parameters(), converted.parameters(), strict=True))
    other = made(Network)
    converted.load_state_dict(other.state_dict())
    other.load_state_dict(converted.state_dict())
    assert_same(copy.deepcopy(model), copy.deepcopy(converted), inputs())


@pytest.mark.parametrize(("after", "replaced"), [(1.0, True), (1.99, False)])
def test_auto_replaces_what_is_faster(clock: dict[str, float], after: float, replaced: bool) -> None:
    clock["after"] = after
    converted = convert(made(Network).eval(), inputs())
    report = converted.conversion
    assert isinstance(report, Conversion)
    assert {row.replaced for row in report.rows} == {replaced}
    assert report.measured == "inference"
    assert isinstance(converted, torch.fx.GraphModule) == replaced
    assert [row.kind for row in report.rows].count("network") == replaced
    assert f"{2 / after:.2f}x" in str(report)


def test_auto_gives_up_where_the_whole_is_slower(clock: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    times = trials.seconds

    def seconds(calls: Any, *rest: Any) -> dict[str, float]:
        return {"before": 1.0, "after": 2.0} if isinstance(calls["before"], Network) else times(calls, *rest)

    monkeypatch.setattr(trials, "seconds", seconds)
    converted = convert(made(Network).eval(), inputs())
    assert type(converted) is Network
    assert not any(row.replaced for row in converted.conversion.rows)  # type: ignore[union-attr]
    assert "the network as a whole became slower" in str(converted.conversion)


def test_a_dry_run_only_reports(clock: dict[str, float]) -> None:
    model = made(Network)
    report = convert(model, inputs(), dry_run=True)
    assert isinstance(report, Conversion)
    assert report.measured == "training step"
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.stages[0].first_norm.num_batches_tracked == 0
    assert not hasattr(model, "conversion")


def test_really_measured() -> None:
    """With the real clock, in both modes: there are times, and what is replaced follows from them."""
    for training in (True, False):
        report = convert(made(Branching).train(training), inputs(), dry_run=True)
        for row in report.rows:
            assert row.before is not None
            assert row.after is not None
            assert row.before > 0 < row.after
            assert not row.replaced or row.before >= row.after


def test_parametrized_convolutions() -> None:
    """Weight norm of the new kind and of the old one, alone and in a chain."""
    with pytest.warns(FutureWarning):
        old = nn.utils.weight_norm(nn.Conv1d(3, 3, 3, padding=2, dilation=2))
    new = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 3, 3, padding=2, dilation=2))
    lone = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 3, 3, padding=1, dilation=3))
    model = nn.Sequential(old, nn.ReLU(), new, lone).double()
    converted = convert(model, torch.randn(1, 3, 11, dtype=torch.double), method="batch_space")
    assert [row.kind for row in converted.conversion.rows] == ["chain", "convolution"]  # type: ignore[union-attr]
    x = torch.randn(2, 3, 14, dtype=torch.double)
    torch.testing.assert_close(converted(x), model(x))
    with torch.no_grad():
        next(model.parameters()).mul_(3)
    torch.testing.assert_close(converted(x), model(x))
    assert list(converted.state_dict()) == list(model.state_dict())


class Flagged(nn.Module):
    """Dropout written as a function and a branch of training: a graph would freeze both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.runs = dilated(3, 2), dilated(3, 2), 0

    def forward(self, x: Tensor) -> Any:
        y = nn.functional.dropout(self.first(x), 0.5, self.training)
        return (self.second(y), y) if self.training else self.second(y)


def test_flags_are_not_frozen() -> None:
    model = made(Flagged)
    converted = convert(model, inputs(), method="batch_space")
    assert isinstance(converted.train()(inputs()), tuple)
    torch.testing.assert_close(converted.eval()(inputs()), model.eval()(inputs()))
    assert "differs between training and evaluation" in str(converted.conversion)


class Stateful(Flagged):
    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return self.second(self.first(x)) * (1.0 if self.runs < 3 else 2.0)


def test_a_graph_that_does_something_else_is_not_taken() -> None:
    converted = convert(made(Stateful), inputs(), method="batch_space")
    assert type(converted) is Stateful
    assert "could not be traced whole: AssertionError" in str(converted.conversion)


def test_compiled_and_deep_copied() -> None:
    torch.compiler.reset()
    model = made(Network).eval()
    converted = copy.deepcopy(convert(model, inputs(), method="batch_space"))
    compiled = torch.compile(converted, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(inputs()), model(inputs()))
    torch.compiler.reset()


def test_choose_block_of_a_convolution(clock: dict[str, float]) -> None:
    """The made-up time of a block is its size, so that the smallest wins, or the largest in the order turned round."""
    conv = nn.Conv2d(3, 3, 3, padding=4, dilation=8).double()
    chosen = choose_block(conv, inputs(24, 24))
    assert chosen.seconds == {1: 1.0, 2: 2.0, 4: 4.0}
    assert (chosen.block, chosen.measured) == (1, "training step")
    assert chosen.skipped == {8: "padding (4, 4) is no multiple of the rate (8, 8)"}
    assert "<- fastest" in str(chosen).splitlines()[0]


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
    rows = (
        Row("chain", ("a", "b", "c"), (2, 2), 1e-3, 5e-4, True, "faster"),
        Row("convolution", ("a.very.long.path",), (16,), None, None, False, "not called with the example input"),
    )
    lines = str(Conversion(rows, "inference", ("x could not be traced",))).splitlines()
    assert lines[1].split() == ["chain", "a", "…", "c", "(3)", "2x2", "1.000", "0.500", "2.00x", "yes:", "faster"]
    assert lines[2].index("no:") == lines[1].index("yes:") == lines[0].index("replaced")
    assert lines[-1] == "note: x could not be traced"
    assert GAIN > 1
