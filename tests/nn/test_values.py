"""Values in batch space are images to all code: whatever a forward does with one gives what it gives for an image."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spacebatch import convert, functions
from spacebatch.nn import AtrousConv2d, BatchSpace, elementwise, rules
from spacebatch.nn.batch_space_tensor import BatchSpaceTensor, is_value
from tests.same_networks import all_results

F = torch.nn.functional


def dilated(channels: int = 4, result: int = 4, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, result, 3, **{"padding": 2, "dilation": 2, **options})


class Does(nn.Module):
    """Two dilated convolutions, other modules, and a forward that is a function of the module and the input."""

    def __init__(self, call: Callable[[Any, Tensor], Any], **modules: nn.Module) -> None:
        super().__init__()
        self.call, self.a, self.b = call, dilated(), dilated()
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        return self.call(self, x)


class Causal(nn.Conv2d):
    """A class with a padding of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, (4, 0, 4, 0)))


class Standardized(nn.Conv2d):
    """A class that calls the function itself, with another weight."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean()
        return F.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Swish(torch.autograd.Function):
    """A function that saves its input and computes its own gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grad * (s * (1 + x * (1 - s)))


class Tripled(torch.autograd.Function):
    """A function that writes into its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x.mul_(3)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 3


CASES: dict[str, Callable[[], nn.Module]] = {}


def case(**modules: Callable[[], nn.Module]) -> Callable[[Callable[[Any, Tensor], Any]], Callable[[Any, Tensor], Any]]:
    """A forward, with modules beside the two convolutions, becomes a case of its name."""

    def added(call: Callable[[Any, Tensor], Any]) -> Callable[[Any, Tensor], Any]:
        CASES[call.__name__] = lambda: Does(call, **{name: make() for name, make in modules.items()})
        return call

    return added


def one_line(name: str, call: Callable[[Any, Tensor], Any], **modules: Callable[[], nn.Module]) -> None:
    """A case in which something is done to the first convolution's result, before the second one."""
    CASES[name] = lambda: Does(lambda m, x: m.b(call(m, m.a(x))), **{k: make() for k, make in modules.items()})


# --- what stays


one_line("relu", lambda m, h: F.relu(h))
one_line("in_place_layer", lambda m, h: m.n(h), n=lambda: nn.ReLU(inplace=True))
one_line("batch_norm", lambda m, h: m.n(h), n=lambda: nn.BatchNorm2d(4, momentum=None))
one_line("group_norm", lambda m, h: m.n(h), n=lambda: nn.GroupNorm(2, 4))
one_line("instance_norm", lambda m, h: m.n(h), n=lambda: nn.InstanceNorm2d(4, affine=True))
one_line("instance_norm_tracked", lambda m, h: m.n(h), n=lambda: nn.InstanceNorm2d(4, track_running_stats=True))
one_line("prelu", lambda m, h: m.n(h), n=lambda: nn.PReLU(4))
one_line("squeeze_excite", lambda m, h: h * h.mean((2, 3), keepdim=True).sigmoid())
one_line("pooled_to_one", lambda m, h: h * F.adaptive_avg_pool2d(h, 1))
one_line("frozen_batch_norm", lambda m, h: h * torch.linspace(0, 1, 4).view(1, 4, 1, 1).to(h) + h.new_ones(4, 1, 1))
one_line("drop_path", lambda m, h: h * h.new_empty((h.shape[0],) + (1,) * (h.ndim - 1)).fill_(2.0))
one_line("numbers", lambda m, h: (1 - h) * 2 + h / 3 - torch.tensor(2.0))
one_line("max_pool_dilated", lambda m, h: F.max_pool2d(F.max_pool2d(h, 3, 1, 0, 2), (1, 5), 1, (0, 2), (1, 2)))
one_line("transposed", lambda m, h: m.c(h), c=lambda: nn.ConvTranspose2d(4, 4, 3, padding=2, dilation=2))
one_line(
    "transposed_larger",
    lambda m, h: F.conv_transpose2d(h, m.c.weight, m.c.bias, dilation=(4, 2)),
    c=lambda: nn.ConvTranspose2d(4, 4, (3, 2)),
)
one_line(
    "transposed_stride", lambda m, h: m.c(h), c=lambda: nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, dilation=2)
)
one_line("softmax_of_channels", lambda m, h: h.softmax(1))
one_line("halves_swapped", lambda m, h: torch.cat(h.chunk(2, 1)[::-1], 1))
one_line("split", lambda m, h: torch.cat(h.split([1, 3], 1)[::-1], 1))
one_line("padded", lambda m, h: F.pad(h, (2, 1, 4, 0), value=1.5))
one_line(
    "padded_channels", lambda m, h: m.c(F.pad(h, (0, 0, 0, 0, 2, 2, 0, 0))), c=lambda: nn.Conv2d(8, 4, 1, bias=False)
)
one_line("cut", lambda m, h: h[..., :-2])
one_line("narrow", lambda m, h: torch.cat([h.narrow(1, 0, 2), h.narrow(-3, 2, 2)], 1))
one_line("layer_norm", lambda m, h: m.n(h.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), n=lambda: nn.LayerNorm(4))
one_line("types", lambda m, h: h.float().double().to(torch.float64))
one_line("clone", lambda m, h: h.clone().contiguous())
one_line("dropout_evaluated", lambda m, h: F.dropout(h, 0.5, False).add_(1))


@case(n=lambda: nn.LayerNorm(4), p=lambda: nn.Linear(4, 16), q=lambda: nn.Linear(16, 4))
def channels_last_block(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    t = torch.permute(h, (0, 2, -1, 1))
    t = m.q(F.gelu(m.p(m.n(t)))) * torch.linspace(1, 2, 4).to(t) + t / 2
    return m.b(h + t.permute(0, 3, 1, 2))


@case()
def residual(m: Any, x: Tensor) -> Any:
    return F.relu(m.b(F.relu(m.a(x))) + x)


@case()
def residual_in_place(m: Any, x: Tensor) -> Any:
    y = m.b(m.a(x))
    y += x
    return y


@case(c=lambda: dilated(8))
def concatenated_with_the_input(m: Any, x: Tensor) -> Any:
    return m.c(torch.cat(tensors=[x, m.a(x)], dim=-3))


@case()
def the_function(m: Any, x: Tensor) -> Any:
    return F.conv2d(m.a(x), m.b.weight, m.b.bias, dilation=2, padding=2)


@case(
    c=lambda: nn.Conv2d(4, 4, (3, 1), padding=(2, 0), dilation=(2, 1)),
    d=lambda: nn.Conv2d(4, 4, (1, 3), padding=(0, 2), dilation=(1, 2)),
)
def factorised(m: Any, x: Tensor) -> Any:
    return m.d(F.relu(m.c(x)))


@case(c=lambda: Causal(4, 4, 3, dilation=2), d=lambda: Causal(4, 4, 3, dilation=2))
def causal(m: Any, x: Tensor) -> Any:
    return m.d(F.relu(m.c(x)))


@case(c=lambda: Standardized(4, 4, 3, dilation=2, padding=2), d=lambda: Standardized(4, 4, 3, dilation=2, padding=2))
def standardized(m: Any, x: Tensor) -> Any:
    return m.d(F.relu(m.c(x)))


@case(c=lambda: dilated(padding=4, dilation=4), d=lambda: nn.Conv2d(4, 4, 1))
def rates_that_meet(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    return m.d(m.c(h) + h + m.b(h) * x)


# --- aliases and writing


@case()
def parts_written(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    first, rest = h[:, :2], h[:, 2:]
    first.mul_(2)
    rest += 1
    return m.b(h), first, rest, h


@case()
def whole_written(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    part = h[:, :2]
    h.mul_(2)
    return m.b(h) + part.sum(), part


@case()
def a_part_in_space_written(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    part, rows = h[:, :2], h[:, :, 1:]
    rows.add_(1)
    h[..., :-2].mul_(2)
    return m.b(h), part * 2


@case()
def a_cut_written(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    h[..., :-2].mul_(2)
    F.relu(h[:, :, :-1], inplace=True)
    return m.b(h)


@case()
def a_cut_written_by_a_flag_in_its_place(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    F.hardtanh(h[..., :-2], -0.1, 0.1, True)
    return m.b(h)


@case()
def zero_where_there_is_no_position(m: Any, x: Tensor) -> Any:
    product = m.a(x) * x
    return m.b(product.abs().sqrt() + x.sigmoid() / (product.sigmoid() * 2))


@case()
def items_set(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    part = h[:, :2]
    h[:, :, 0] = 3.0
    h.masked_fill_(h > 1, 0.5)
    return m.b(h), part * 2, h


@case()
def views_of_any_kind_written(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    h.transpose(2, 3).add_(1)
    h.view(h.shape[0], -1).mul_(3)
    torch.einsum("nchw->nwhc", h).add_(1)
    h.unfold(2, 2, 2).mul_(2)
    F.pixel_shuffle(h, 1).mul_(2)
    h.mT.add_(1)
    h.data.mul_(0.5)
    return m.b(h)


@case()
def the_same_by_another_name(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    h.to(h.dtype).mul_(2)
    h.contiguous().add_(1)
    h.double().add_(1)
    nn.Identity()(h).add_(1)
    return m.b(h)


@case()
def detached(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    h.detach().mul_(0.5)
    return m.b(h), m.b(h.detach())


@case(n=lambda: nn.LayerNorm(4))
def channels_last_written(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    t = h.permute(0, 2, 3, 1)
    t.neg_().mul_(0.5)
    y = m.b(h * 1)
    t[..., 1] = 3
    n = m.n(t * 1)
    h.mul_(2)
    return y, m.b(h * 1), t * 1, n.add_(1), n


@case(n=lambda: nn.LayerNorm(4))
def channels_last_read(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    t = m.n(h.permute(0, 2, 3, 1))
    u, w = (t * 1).neg_(), t * 1
    Tripled.apply(w)
    seen = Swish.apply(t), Swish.apply(u), m.n(w)
    return seen, t.sum((1, 2)), t[:, 1], t * t.mean(-1, keepdim=True), t + x.movedim(1, -1)


@case(n=lambda: nn.LayerNorm(4))
def channels_last_gradient(m: Any, x: Tensor) -> Any:
    t = m.n(m.a(x).permute(0, 2, 3, 1))
    if t.requires_grad:
        t.register_hook(lambda grad: grad * 3)
    y = m.b(t.permute(0, 3, 1, 2))
    return (y, torch.autograd.grad(y.square().sum(), t, create_graph=True)[0]) if t.requires_grad else y


@case(n=lambda: nn.LayerNorm(4))
def channels_last_as_an_image(m: Any, x: Tensor) -> Any:
    """Where the spatial dims pass for channels, and the channels for one of space."""
    t, h = m.n(m.a(x[:, :, :4]).permute(0, 2, 3, 1)), m.a(x[:, :, :4, :4])
    n = m.n(h.permute(0, 2, 3, 1))
    return (
        m.b(t),
        torch.cat([t, t], 1),
        t.chunk(2, 3),
        h + h.permute(0, 2, 3, 1),
        n + h,
        n * x[:, :, :4, :4],
        n + n[0, 0],
    )


@case()
def channels_last_without_epsilon(m: Any, x: Tensor) -> Any:
    """Cells that are no positions hold equal numbers: their variance is zero."""
    return m.b(F.layer_norm((m.a(x) * x).permute(0, 2, 3, 1), (4,), eps=0).permute(0, 3, 1, 2))


@case()
def channels_last_strides(m: Any, x: Tensor) -> Any:
    """A view, and what a layer norm makes of it, lie as PyTorch's do."""
    t = m.a(x).permute(0, 2, 3, 1)
    n = F.layer_norm(t, (4,))
    for tensor in (t, n, n.permute(0, 3, 1, 2), t.permute(0, 3, 1, 2)):
        x = (
            x
            + torch.tensor([*tensor.shape, *tensor.stride(), tensor.is_contiguous()]).double()
            @ torch.arange(1.0, 10).double()
        )
    return x


@case()
def numpy_written(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    h.detach().numpy()[:, 0] = 1
    return m.b(h)


@case()
def written_without_gradients(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    with torch.no_grad():
        h.mul_(0.5)
        flat = h.flatten(1)
    return m.b(h) + flat.sum() + h.sum()


@case()
def the_input_written(m: Any, x: Tensor) -> Any:
    h, z = m.a(x), x * 2
    z += h
    return m.b(z)


# --- what needs the image


one_line("square_root", lambda m, h: (h.square() + 1e-12).sqrt())
one_line("divided_by_itself", lambda m, h: h / h.abs().add(1e-9) + 1 / h.exp() + h**2)
one_line("max_pool", lambda m, h: F.max_pool2d(h, 2))
one_line("iterated", lambda m, h: torch.stack([sample * len(h) for sample in h]))
one_line("indexed", lambda m, h: h[:, [1, 0, 3, 2]][None][0])
one_line("where", lambda m, h: torch.where(h > 0, h, -h))
one_line("interpolated", lambda m, h: F.interpolate(h, scale_factor=2, mode="bilinear"))
one_line("a_number_of_it", lambda m, h: h * bool(h.sum() > -1e9) + float(h.detach().mean()) + h.numel())
one_line("copied_deeply", lambda m, h: copy.deepcopy(h.detach()))
one_line("attention", lambda m, h: (h.flatten(2) @ h.flatten(2).mT @ h.flatten(2)).view_as(h))
one_line("a_row_added", lambda m, h: h + h[:1, :1, :, :1])
one_line("a_mask", lambda m, h: h * (h > 0))
one_line("layer_norm_over_more", lambda m, h: F.layer_norm(h.permute(0, 2, 3, 1), (h.shape[3], 4)).permute(0, 3, 1, 2))
one_line("permuted_otherwise", lambda m, h: h.permute(0, 1, 3, 2).permute(0, 3, 2, 1).transpose(1, 3).mT)
one_line("reflecting", lambda m, h: m.c(h), c=lambda: dilated(padding_mode="reflect"))
one_line("stride", lambda m, h: m.c(h), c=lambda: dilated(stride=2))
one_line("printed", lambda m, h: h * len(f"{h}{h!r}"[:3]))


@case()
def without_a_batch(m: Any, x: Tensor) -> Any:
    return m.b(m.a(x[0])[None])


# --- autograd and what calls past torch functions


one_line("custom_function", lambda m, h: F.relu(Swish.apply(h).mul(2)))
one_line("custom_function_in_place", lambda m, h: Tripled.apply(h * 1))
one_line("requires_grad_", lambda m, h: h.detach().requires_grad_())
one_line("checkpointed", lambda m, h: checkpoint(lambda t: F.relu(t) * 2, h, use_reentrant=False))


@case()
def custom_function_writes_beside_an_alias(m: Any, x: Tensor) -> Any:
    h = m.a(x) * 1
    part = h[:, :2]
    Tripled.apply(h)
    return m.b(h), part * 1


@case()
def checkpointed_convolution(m: Any, x: Tensor) -> Any:
    return m.b(checkpoint(lambda t: F.relu(m.a(t)) * 2, x, use_reentrant=False))


@case()
def late_hook(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    y = m.b(h)
    if h.requires_grad:
        h.register_hook(lambda grad: grad * 3)
    return y


@case()
def gradient_inside(m: Any, x: Tensor) -> Any:
    h = m.a(x)
    y = m.b(h)
    return (y, torch.autograd.grad(y.square().sum(), h, create_graph=True)[0]) if h.requires_grad else y


def pair(make: Callable[[], nn.Module], training: bool) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    network = make().double().train(training)
    return network, convert(copy.deepcopy(network), method="batch_space")


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", CASES)
def test_equal(name: str, training: bool) -> None:
    """Where the rate does not divide the sizes and where it does: outputs, gradients, buffers."""
    for size in ((9, 11), (8, 12)):
        network, converted = pair(CASES[name], training)
        x = torch.randn(2, 4, *size, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        expected, found = all_results(network, x), all_results(converted, x)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def moves(network: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    for name in ("space_to_batch", "batch_to_space"):
        original = getattr(functions, name)

        def counted(*args: Any, name: str = name, original: Any = original, **kwargs: Any) -> Any:
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(functions, name, counted)
    with torch.no_grad():
        network(x)
    return calls


NAMES = list(CASES)
STAY = [*NAMES[: NAMES.index("residual_in_place") + 1], "the_function", "factorised", "parts_written"]


@pytest.mark.parametrize("name", [n for n in STAY if n not in ("instance_norm_tracked", "transposed_stride")])
def test_two_moves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stays in batch space does: one move there, one for each result that leaves, none between."""
    _, converted = pair(CASES[name], True)
    results = {"parts_written": 2}  # h once, for all its parts
    calls = moves(converted, torch.randn(2, 4, 9, 11, dtype=torch.double), monkeypatch)
    assert calls.count("space_to_batch") == 1
    assert calls.count("batch_to_space") == results.get(name, 1)


class Normed(nn.Module):
    """Layer norms between dilated convolutions of one or three dims."""

    def __init__(self, dims: int, order: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        self.a, self.b = (kind(4, 4, 3, padding=2, dilation=2) for _ in range(2))
        self.n, self.order, self.back = nn.LayerNorm(4), order, back

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.back(self.n(self.order(self.a(x)))))
        return y


@pytest.mark.parametrize(
    ("size", "order", "back"),
    [
        ((9,), lambda t: t.permute(0, 2, 1), lambda t: t.permute((0, -1, 1))),
        ((9,), lambda t: t.transpose(1, 2), lambda t: torch.transpose(t, -2, -1)),
        ((5, 6, 7), lambda t: t.permute(0, 2, 3, 4, 1), lambda t: t.permute(0, 4, 1, 2, 3)),
    ],
    ids=["permuted", "transposed", "three dims"],
)
def test_layer_norms_of_one_and_three_dims(size: Any, order: Any, back: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network, converted = pair(lambda: Normed(len(size), order, back), True)
    x = torch.randn(2, 4, *size, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(all_results(converted, x), all_results(network, x), rtol=1e-9, atol=1e-9)
    assert moves(converted, x, monkeypatch) == ["space_to_batch", "batch_to_space"]


HOOKS: dict[str, Callable[[Any], Any]] = {
    "result exchanged": lambda layer: layer.register_forward_hook(lambda m, i, o: o.flip(-1)),
    "input exchanged": lambda layer: layer.register_forward_pre_hook(lambda m, i: (i[0].flip(-1),)),
    "gradient exchanged": lambda layer: layer.register_full_backward_hook(lambda m, i, o: (i[0] * 2,)),
    "before the gradient": lambda layer: layer.register_full_backward_pre_hook(lambda m, o: (o[0] * 2,)),
    "on the tensor": lambda layer: layer.register_forward_hook(
        lambda m, i, o: o.register_hook(lambda g: g * 2) and None
    ),
}


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("where", ["a", "n", "b"])
def test_hooks(name: str, where: str) -> None:
    results = []
    for network in pair(CASES["batch_norm"], True):
        HOOKS[name](getattr(network, where))
        results.append(all_results(network, torch.linspace(-1, 1, 720, dtype=torch.double).view(2, 4, 9, 10)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)


def test_gradients_of_what_leaves() -> None:
    """With respect to a result from which another one was computed: by autograd.grad, and kept by retain_grad."""

    def both(m: Any, x: Tensor) -> Any:
        h = m.a(x)
        return m.b(h), h

    found = []
    for network in pair(lambda: Does(both), True):
        y, h = network(torch.linspace(-1, 1, 720, dtype=torch.double).view(2, 4, 9, 10))
        (grad,) = torch.autograd.grad(y.square().sum(), h, create_graph=True)
        h.retain_grad()
        y.sum().backward()
        found.append((grad, h.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)


def value(gradient: bool = False) -> tuple[Tensor, Tensor]:
    """(a value, the image it stands for)."""
    conv = AtrousConv2d(2, 2, 3, padding=2, dilation=2, method="batch_space").requires_grad_(gradient)
    x = torch.randn(2, 2, 5, 6)
    return conv(x), F.conv2d(x, conv.weight, conv.bias, 1, 2, 2)


LOOKS: dict[str, Callable[[Tensor], Any]] = {
    "repr": repr,
    "len": len,
    "list": list,
    "numpy": lambda h: h.detach().numpy(),
    "item": lambda h: h[0, 0],
    "address": Tensor.data_ptr,
    "storage": Tensor.untyped_storage,
    "pickle": pickle.dumps,
    "unknown": lambda h: torch.fft.fft(h),
}


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("name", LOOKS)
def test_looked_at_from_outside(name: str, gradient: bool) -> None:
    """Asking for shapes and types moves nothing; anything else makes it a plain tensor, the same object."""
    h, image = value(gradient)
    assert is_value(h)
    assert isinstance(h, Tensor)
    assert (h.shape, h.dtype, h.device, h.requires_grad) == (
        *(image.shape, image.dtype, image.device, image.requires_grad),
    )
    assert (h.stride(), h.is_contiguous(), h.dim(), h.size(2), h.ndim) == (image.stride(), True, 4, 5, 4)
    h.note = "kept"  # type: ignore[attr-defined]
    assert type(h) is BatchSpaceTensor
    LOOKS[name](h)
    assert type(h) is Tensor or name in ("numpy", "item")  # a view of it leaves two
    assert h.note == "kept"  # type: ignore[attr-defined]
    torch.testing.assert_close(h, image)


@pytest.mark.parametrize("gradient", [True, False])
def test_channels_last(gradient: bool) -> None:
    conv = AtrousConv2d(4, 4, 3, padding=2, dilation=2, method="batch_space").requires_grad_(gradient)
    h = conv(torch.randn(2, 4, 5, 6).to(memory_format=torch.channels_last))
    assert h.is_contiguous(memory_format=torch.channels_last)
    strides = h.stride()
    assert h.flip(-1).flip(-1).shape == h.shape
    assert h.stride() == strides


def test_inference_mode_and_grad_modes() -> None:
    """A value made with gradients keeps them where the mode is another one meanwhile."""
    for mode in (torch.no_grad, torch.inference_mode):
        h, image = value(gradient=True)
        with mode():
            assert float(h.flip(-1).sum()) == pytest.approx(float(image.sum()), rel=1e-4)
        h.sum().backward()
        conv = BatchSpace(dilated(2, 2), nn.BatchNorm2d(2), dilated(2, 2))
        with mode():
            assert conv(torch.randn(1, 2, 5, 5)).requires_grad is False
        conv(torch.randn(1, 2, 5, 5)).sum().backward()


def test_aliases_written_to_below_torch_functions() -> None:
    """Autograd sees every alias behind what was written into any of them."""
    conv = AtrousConv2d(4, 4, 3, padding=2, dilation=2, method="batch_space").double()
    x = torch.randn(1, 4, 5, 5, dtype=torch.double)
    found = []
    for h in (conv(x), F.conv2d(x, conv.weight, conv.bias, 1, 2, 2)):
        part = h[:, :2]
        h.mul_(2)
        found.append(torch.autograd.grad(Swish.apply(part).sum(), list(conv.parameters())))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.filterwarnings("ignore")
def test_functions_that_are_given_a_copy_return_memory_of_their_own() -> None:
    """And write into none, whatever plausible arguments they are called with."""
    x = torch.rand(2, 4, 6, 6)
    rests: list[tuple[Any, ...]] = [
        (),
        (1,),
        (2,),
        ((2, 3),),
        (x,),
        (torch.rand(4, 4, 1, 1),),
        (1, 1),
        ((0, 0),),
        (0.5,),
    ]
    rests += [(torch.rand(6, 6),), ((6, 6),), (None, (6, 6)), ((1, 1, 1, 1),), (x > 0.5, x), (0.1, 0.9, True)]
    tried = 0
    for function in rules.READS:
        for rest in rests:
            for arguments in (
                (y := x.clone(), *rest),
                ([y := x.clone()], *rest),
                (torch.ones(2, 4, 6, 6) > 0, y := x.clone(), y),
            ):
                if elementwise.in_place(function, arguments, {}):
                    continue
                try:
                    result = function(*arguments)
                except (
                    TypeError,
                    ValueError,
                    RuntimeError,
                    IndexError,
                    NotImplementedError,
                    AttributeError,
                    AssertionError,
                ):
                    continue
                tried += 1
                for part in result if isinstance(result, (tuple, list)) else [result]:
                    assert not isinstance(part, Tensor) or part.untyped_storage()._cdata != y.untyped_storage()._cdata
                assert torch.equal(x, y)
    assert tried > len(rules.READS)


@pytest.mark.parametrize("gradient", [True, False])
def test_nothing_refers_to_itself(gradient: bool) -> None:
    """Memory is free as soon as nobody holds the value, without a collection of cycles."""

    def alive() -> int:
        return sum(isinstance(thing, Tensor) for thing in gc.get_objects())

    _, converted = pair(CASES["parts_written"], gradient)
    x = torch.randn(1, 4, 9, 9, dtype=torch.double)
    with torch.set_grad_enabled(gradient):
        converted(x)
        gc.collect()
        gc.disable()
        try:
            before = alive()
            for _ in range(3):
                h = converted.a(x)
                h.flip(-1)
                converted(x)
                BatchSpaceTensor.data_ptr(converted.b(converted.a(x)))
            del h
            assert alive() <= before
        finally:
            gc.enable()
