"""Chains that stay in batch space equal the chains of their layers: values, gradients, running statistics."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spacebatch import BlockGeometry
from spacebatch.nn import BatchSpace, cells
from spacebatch.nn.cells import enter, leave, valid
from spacebatch.perf.networks import ResidualBlock
from tests.same_networks import assert_same


class Scaled(ResidualBlock):
    """A residual block whose second half is scaled, the skip added in place."""

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__(channels, channels, rate)
        self.scale = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.relu(self.first_norm(self.first(x)))) * self.scale
        y += x
        return self.relu(y)


class Cropped(nn.Module):
    """A convolution without padding, and the middle of the skip."""

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        self.conv, self.rate = nn.Conv1d(channels, channels, 3, dilation=rate), rate

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.cat([y, x[..., self.rate : self.rate + y.size(2)]], dim=1)


class Does(nn.Module):
    """A module with a forward given as a function of itself and the input."""

    def __init__(self, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def conv(dims: int, rate: int, channels: int = 3, result: int = 3, **options: Any) -> nn.Module:
    """A convolution of 3 elements that keeps the size."""
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    return kind(channels, result, 3, dilation=rate, **{"padding": rate, **options})


# name: (spatial dims, layers, rate or 0 for (1, 3))
CHAINS: dict[str, tuple[int, Callable[[], list[nn.Module]], int]] = {
    "one_convolution": (2, lambda: [conv(2, 3)], 3),
    "two_with_bias": (2, lambda: [conv(2, 2), conv(2, 2, 3, 4)], 2),
    "norm_between": (
        2,
        lambda: [
            *(conv(2, 2, 3, 4), nn.BatchNorm2d(4), nn.ReLU()),
            *(conv(2, 2, 4, 4), nn.BatchNorm2d(4), nn.GELU()),
        ],
        2,
    ),
    "norm_first_and_alone": (2, lambda: [nn.BatchNorm2d(3), nn.Sigmoid(), conv(2, 2)], 2),
    "norm_without_statistics": (
        2,
        lambda: [conv(2, 2), nn.BatchNorm2d(3, affine=False, track_running_stats=False)],
        2,
    ),
    "norm_cumulative": (2, lambda: [nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, momentum=None), nn.Softmax2d()], 2),
    "residual": (2, lambda: [Scaled(3, 3), nn.Conv2d(3, 2, 1), Scaled(2, 3)], 3),
    "no_padding": (1, lambda: [Cropped(3, 2), conv(1, 2, 6, padding=0)], 2),
    "cut_first": (1, lambda: [Does(lambda m, x: x[:, :, :-1]), conv(1, 2)], 2),
    "multiple_of_the_rate": (1, lambda: [conv(1, 4), conv(1, 2)], 2),
    "constant_padding": (1, lambda: [nn.Tanh(), nn.ConstantPad1d((4, 3), 1.5), conv(1, 2)], 2),
    "depthwise_separable": (
        1,
        lambda: [nn.Conv1d(3, 6, 5, padding=8, dilation=4, groups=3), nn.PReLU(), nn.Conv1d(6, 3, 1)],
        4,
    ),
    "plain_dim_beside": (2, lambda: [nn.Conv2d(3, 3, 3, padding=(1, 3), stride=(2, 1), dilation=(1, 3))], 0),
    "three_dims": (3, lambda: [conv(3, 2, 3, 4), nn.BatchNorm3d(4), nn.GLU(1)], 2),
    "nested": (1, lambda: [nn.Sequential(conv(1, 2), nn.Sequential(nn.ReLU(), nn.Conv1d(3, 4, 1)))], 2),
}
SIZES = {"divisible": (12, 24, 12), "with_a_rest": (11, 22, 7), "smaller_than_the_rate": (5, 2, 5)}


def both(name: str) -> tuple[nn.Sequential, BatchSpace, int]:
    """The chain by its layers, the same in batch space, and its spatial dims; float64."""
    dims, layers, rate = CHAINS[name]
    torch.manual_seed(0)
    chain = nn.Sequential(*layers()).double()
    for layer in chain.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine:
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return chain, BatchSpace(*copy.deepcopy(chain), rate=rate or (1, 3)), dims


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", CHAINS)
def test_equal(name: str, sizes: str) -> None:
    """In training, twice, so that running statistics move; then in evaluation."""
    chain, ours, dims = both(name)
    size = SIZES[sizes][-dims:]
    if name == "no_padding":
        size = (size[0] + 9,)
    for seed in (0, 1):
        assert_same(chain, ours, torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed)).double())
    chain.eval()
    ours.eval()
    assert_same(chain, ours, torch.randn(3, 3, *size, dtype=torch.double))


@settings(deadline=None, derandomize=True, max_examples=40, database=None)
@given(st.data())
def test_equal_whatever_the_chain(data: st.DataObject) -> None:
    dims, rate = data.draw(st.integers(1, 2)), data.draw(st.integers(2, 4))
    kind, norm = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d))[dims - 1]
    layers: list[nn.Module] = []
    for _ in range(data.draw(st.integers(1, 4))):
        kernel = data.draw(st.sampled_from((1, 2, 3)))
        padding = rate * data.draw(st.integers(1, 2)) if kernel > 1 else 0
        layers.append(kind(2, 2, kernel, padding=padding, dilation=rate if kernel > 1 else 1))
        layers += [norm(2)] * data.draw(st.booleans())
        layers += [data.draw(st.sampled_from((nn.ReLU(), nn.Sigmoid(), nn.Softplus(), nn.Hardtanh(0.1, 2.0))))]
    size = data.draw(st.tuples(*[st.integers(2, 9)] * dims))
    chain = nn.Sequential(*layers).double()
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(0)).double()
    assert_same(chain, BatchSpace(*copy.deepcopy(chain), rate=rate), x, 1e-8)


def test_two_moves_for_the_whole_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    import spacebatch.functions as functions

    calls: list[str] = []
    for name in ("space_to_batch", "batch_to_space"):
        original = getattr(functions, name)
        monkeypatch.setattr(functions, name, lambda *a, n=name, f=original, **k: (calls.append(n), f(*a, **k))[1])
    _, ours, _ = both("norm_between")
    ours(torch.randn(1, 3, 9, 9, dtype=torch.double))
    assert calls == ["space_to_batch", "batch_to_space"]


def test_zeroed_only_where_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the first layer, not where the rate divides, not before 1x1 convolutions or without padding."""
    masks: list[object] = []
    original = cells.valid
    monkeypatch.setattr(cells, "valid", lambda value: (masks.append(value), original(value))[1])

    def count(name: str, *size: int) -> int:
        _, ours, _ = both(name)
        masks.clear()
        ours.eval()(torch.randn(1, 3, *size, dtype=torch.double))
        return len(masks)

    assert count("two_with_bias", 8, 8) == 0
    assert count("one_convolution", 8, 8) == 0
    assert count("two_with_bias", 8, 9) == 1
    assert count("no_padding", 21) == 0
    assert count("depthwise_separable", 21) == 0


@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 1, 5, 6), (3, 2, 2, 5, 4), (2, 1, 1, 1)])
def test_the_mask_is_the_geometrys(shape: tuple[int, ...]) -> None:
    rate = (3, 2, 4)[: len(shape) - 2]
    found = enter(torch.randn(shape), rate)
    geometry = BlockGeometry(shape, rate, "auto")
    assert torch.equal(valid(found).expand(found.tensor.shape), torch.from_numpy(geometry.valid_mask().copy()))
    assert found.shape == shape
    assert found.whole == (math.prod(geometry.batch_shape) == math.prod(shape))
    assert leave(found).shape == shape


def test_nan_in_what_is_not_valid_stays_out() -> None:
    """0 / 0 in a cell that no image has must not reach the weights."""

    norm = nn.BatchNorm1d(1, affine=False)
    layers = [norm, Does(lambda m, x: x / x.abs() + (x.abs() + 0.1).sqrt()), nn.Conv1d(1, 1, 3, padding=2, dilation=2)]
    chain = nn.Sequential(nn.Conv1d(1, 1, 3, padding=2, dilation=2, bias=False), *layers).double()
    assert_same(chain, BatchSpace(*copy.deepcopy(chain), rate=2), torch.randn(1, 1, 5, dtype=torch.double))


def test_dropout() -> None:
    """Element by element as ever, and whole channels of a sample in all phases at once."""
    x = torch.ones(4, 8, 6, 7)
    for kind in (nn.Dropout, nn.Dropout2d):
        y = BatchSpace(kind(0.5), rate=(2, 2))(x)
        assert {0.0, 2.0} == set(y.unique().tolist())
        assert 0.2 < y.eq(0).float().mean() < 0.8
        same = bool((y == y[:, :, :1, :1]).all())
        assert same == (kind is nn.Dropout2d)
        assert torch.equal(BatchSpace(kind(0.5), rate=(2, 2)).eval()(x), x)


def test_weight_norm_of_the_old_kind_and_other_hooks() -> None:
    """What computes in forward hooks runs: the weight of each call, and what a hook makes of the result."""
    with pytest.warns(FutureWarning):
        layer = nn.utils.weight_norm(nn.Conv1d(2, 2, 3, padding=2, dilation=2))
    layer.register_forward_hook(lambda module, inputs, result: result * 2)
    ours, x = BatchSpace(layer, rate=2), torch.randn(1, 2, 7)
    torch.testing.assert_close(ours(x), layer(x))
    with torch.no_grad():
        layer.weight_g.mul_(3)
    torch.testing.assert_close(ours(x), layer(x))
    layer.register_full_backward_hook(lambda module, before, after: None)
    torch.testing.assert_close(ours(x), layer(x))


def test_half_precision_statistics_and_autocast() -> None:
    chain, ours, _ = both("norm_between")
    chain.float()
    ours.float()
    x = torch.randn(2, 3, 9, 11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, found = chain(x), ours(x)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)  # some layers of 8 bits each
    torch.testing.assert_close(ours[1].running_var, chain[1].running_var, rtol=2e-2, atol=2e-2)


def test_copies_and_state() -> None:
    chain, ours, _ = both("residual")
    again = pickle.loads(pickle.dumps(copy.deepcopy(ours)))
    assert list(again.state_dict()) == list(chain.state_dict())
    again.load_state_dict(chain.state_dict())
    assert_same(chain, again, torch.randn(1, 3, 5, 7, dtype=torch.double))
    assert "rate=(3, 3)" in repr(again)


PLAIN = [nn.Conv2d(1, 1, 3, dilation=(2, 3)), nn.Conv2d(1, 1, 1)]


@pytest.mark.parametrize(
    ("layers", "rate", "message"),
    [
        ([*PLAIN, nn.Conv2d(1, 1, 3)], None, r"rate must be given, the convolutions have the dilations \["),
        ([nn.ReLU()], 2, r"the number of spatial dims is not clear"),
        ([nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1)], 2, r"convolutions of \[1, 2\] spatial dims cannot be in one chain"),
        (PLAIN, 0, r"rate\[0\] must be at least 1, got 0"),
        (PLAIN, (2, 2, 2), r"rate has 3 entries for 2 spatial dims"),
    ],
    ids=["several", "none", "dims", "zero", "three"],
)
def test_rates(layers: list[nn.Module], rate: Any, message: str) -> None:
    assert BatchSpace(*PLAIN).rate == (2, 3)
    with pytest.raises(ValueError, match=f"^BatchSpace: {message}"):
        BatchSpace(*layers, rate=rate)


def test_layers_that_need_the_image_are_given_it() -> None:
    """The chain goes on after them, also where they leave a value of another number of dims."""
    layers = [
        conv(2, 2),
        nn.MaxPool2d(2),
        conv(2, 2),
        nn.Flatten(1),
        nn.Unflatten(1, (3, 5, 6)),
        conv(2, 2),
        conv(2, 3),
    ]
    chain = nn.Sequential(*layers).double()
    assert_same(chain, BatchSpace(*copy.deepcopy(chain), rate=2), torch.randn(2, 3, 10, 12, dtype=torch.double))


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (3, 4, 4), (1, 1, 5, 5)])
def test_errors_are_the_layers_own(shape: tuple[int, ...]) -> None:
    layers = nn.Conv2d(1, 1, 3, dilation=2), nn.BatchNorm2d(1)
    with pytest.raises((RuntimeError, ValueError)) as expected:
        nn.Sequential(*layers)(torch.zeros(shape))
    with pytest.raises(expected.type) as found:
        BatchSpace(*layers, rate=2)(torch.zeros(shape))
    assert str(found.value) == str(expected.value)


def test_masks_are_kept_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask that was not used for longest makes place, and one that is large by itself is not kept."""
    kept = cells._Kept(400)

    def mask(size: int) -> Tensor:
        return kept.get((2,), (size,), 1, torch.device("cpu"))

    first = mask(79)
    assert mask(79) is first
    for size in (81, 83, 85, 87):
        assert mask(79) is first
        mask(size)
    assert mask(79) is first
    assert kept.held == sum(m.numel() for m in kept.masks.values()) <= 400
    assert len(kept.masks) == 4
    assert mask(301) is not mask(301)
    assert kept.held <= 400


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled(dynamic: bool) -> None:
    torch.compiler.reset()
    chain, ours, _ = both("two_with_bias" if dynamic else "residual")
    compiled = torch.compile(ours, fullgraph=True, dynamic=dynamic, backend="aot_eager" if dynamic else "eager")
    for size in ((7, 8), (9, 9)) if dynamic else ((7, 8),):
        assert_same(chain, ours, torch.randn(2, 3, *size, dtype=torch.double), call=compiled)
    torch.compiler.reset()


def test_inference_mode_first_then_training() -> None:
    """A mask made in inference mode serves a backward pass later."""
    chain, ours, _ = both("two_with_bias")
    x = torch.randn(1, 3, 13, 7, dtype=torch.double)
    with torch.inference_mode():
        ours(x)
    assert_same(chain, ours, x)


def test_channels_last() -> None:
    chain, ours, _ = both("norm_between")
    x = torch.randn(2, 3, 9, 10).to(memory_format=torch.channels_last)
    assert chain.float()(x).is_contiguous(memory_format=torch.channels_last)
    assert ours.float()(x).is_contiguous(memory_format=torch.channels_last)
    assert_same(chain, ours, x, 1e-4)
