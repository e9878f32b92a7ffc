"""Published networks with dilated convolutions, as installed packages write them: random weights, small sizes.

The packages are those of the extra `networks`; each is imported when a network of it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Inputs = tuple[tuple[Tensor, ...], dict[str, Any]]


class Case(NamedTuple):
    """One architecture.

    Attributes:
        package: what it comes from. make: builds it. inputs: what it is called with.
        dilated, chains: how many there are at least. ends: what ends chains and single convolutions, some of it. notes: of the report.
    """

    package: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    dilated: int
    chains: int
    ends: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def drawn(*shape: int, **options: Any) -> Callable[[], Inputs]:
    def inputs() -> Inputs:
        return (torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.double),), options

    return inputs


def words() -> Inputs:
    return (torch.arange(1, 13).view(2, 6),), {}


VOLUME = drawn(1, 1, 9, 8, 10)
NOISE = ("not compared: two native runs differ as well, for the network draws random numbers",)
PLAIN = frozenset({"conv1d"})
IMAGES, SQUARES, SOUND, SPECTRUM = drawn(2, 3, 33, 49), drawn(2, 3, 64, 64), drawn(2, 1, 512), drawn(2, 20, 8)


def deeplabv3() -> nn.Module:
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.resnet import Bottleneck, ResNet
    from torchvision.models.segmentation import DeepLabV3
    from torchvision.models.segmentation.deeplabv3 import ASPP
    from torchvision.models.segmentation.fcn import FCNHead

    class Narrow(Bottleneck):
        expansion = 1

    backbone = ResNet(Narrow, [1, 1, 1, 3], width_per_group=16, replace_stride_with_dilation=[False, True, True])
    parts = IntermediateLayerGetter(backbone, {"layer3": "aux", "layer4": "out"})
    return DeepLabV3(parts, nn.Sequential(ASPP(512, (3, 4), 16), nn.Conv2d(16, 5, 1)), FCNHead(256, 5))


def lraspp() -> nn.Module:
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)


def timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, **options)

    return make


def big_transfer() -> nn.Module:
    """Its convolutions standardize their weights, in forwards of their own."""
    from timm.models.resnetv2 import ResNetV2

    return ResNetV2([1, 1, 1, 4], (128, 128, 128, 128), num_classes=5, output_stride=8)


def smp(name: str, encoder: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import segmentation_models_pytorch

        return getattr(segmentation_models_pytorch, name)(encoder, encoder_weights=None, classes=3, **options)

    return make


def monai(name: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from monai.networks import nets

        return getattr(nets, name)(**options)

    return make


def transformers(name: str, prefix: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import transformers

        return getattr(transformers, name)(getattr(transformers, f"{prefix}Config")(**options))

    return make


def with_weight_norm(make: Callable[[], Any]) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        network = make()
        network.apply_weight_norm()
        return network

    return made


SMP = "segmentation_models_pytorch"
GEOMETRY = "a convolution of another geometry"
NARROW: dict[str, Any] = {"num_classes": 5, "output_stride": 8, "channels": (8, 8, 8, 8)}
FEATURES: dict[str, Any] = {"features_only": True, "output_stride": 8}
ATROUS: dict[str, Any] = {"decoder_atrous_rates": (2, 3, 4), "decoder_channels": 16, "encoder_output_stride": 8}
HIFIGAN = {"model_in_dim": 8, "upsample_initial_channel": 32}
ENCODEC = {
    "num_filters": 4,
    "num_residual_layers": 3,
    "hidden_size": 16,
    "codebook_dim": 16,
    "codebook_size": 32,
    "upsampling_ratios": [4, 2],
}
DAC = {"encoder_hidden_size": 8, "downsampling_ratios": [2, 4], "decoder_hidden_size": 32, "quantizer_dropout": 0.0}
UNIVNET = {
    "model_in_channels": 8,
    "model_hidden_channels": 8,
    "num_mel_bins": 10,
    "resblock_stride_sizes": [4, 2, 2],
} | {"kernel_predictor_hidden_channels": 8}
VITS: dict[str, Any] = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "ffn_dim": 16,
}
VITS |= {"flow_size": 16, "spectrogram_bins": 9, "upsample_initial_channel": 32, "upsample_rates": [4, 2]}
VITS |= {"upsample_kernel_sizes": [8, 4], "prior_encoder_num_wavenet_layers": 2, "wavenet_dilation_rate": 2}

CASES: dict[str, Case] = {
    "DeepLabV3": Case("torchvision", deeplabv3, drawn(2, 3, 25, 33), 5, 1, frozenset({GEOMETRY, "add_", "cat"})),
    "LRASPP": Case("torchvision", lraspp, IMAGES, 3, 1, frozenset({"interpolate"})),
    "ResNet-10-T": Case("timm", timm("resnet10t", **NARROW), IMAGES, 3, 1, frozenset({"add_"})),
    "features of ResNet-26": Case("timm", timm("resnet26", channels=(8, 8, 8, 8), **FEATURES), IMAGES, 3, 1),
    "Res2Net": Case("timm", timm("res2net50_26w_4s", layers=[1, 1, 1, 2], **NARROW), IMAGES, 6, 2, frozenset({"cat"})),
    "EfficientNet-B0": Case("timm", timm("tf_efficientnet_b0", output_stride=16), IMAGES, 4, 1),
    "MobileNetV3": Case("timm", timm("mobilenetv3_small_050", **FEATURES), IMAGES, 3, 1),
    "ConvNeXt": Case("timm", timm("convnext_atto", output_stride=16), IMAGES, 2, 1),
    "RegNetY": Case("timm", timm("regnety_002", output_stride=8), IMAGES, 10, 2, frozenset({GEOMETRY, "add"})),
    "ResNeSt": Case("timm", timm("resnest14d", output_stride=8), IMAGES, 1, 0, frozenset({"reshape"})),
    "BiT": Case("timm", big_transfer, IMAGES, 4, 1, frozenset({GEOMETRY, "add"})),
    "DeepLabV3+": Case(SMP, smp("DeepLabV3Plus", "mobilenet_v2", **ATROUS), SQUARES, 14, 2, frozenset({"cat"})),
    "PAN": Case(SMP, smp("PAN", "tu-mobilenetv3_small_050", decoder_channels=8), drawn(2, 3, 128, 128), 2, 1),
    "HighResNet": Case("monai", monai("HighResNet", spatial_dims=3, in_channels=1, out_channels=2), VOLUME, 12, 3),
    "MobileNetV2 with DeepLabV3+": Case(
        "transformers",
        transformers("MobileNetV2ForSemanticSegmentation", "MobileNetV2", output_stride=8, depth_multiplier=0.35),
        drawn(2, 3, 41, 49, labels=torch.ones(2, 41, 49, dtype=torch.long), output_hidden_states=True),
        *(10, 2, frozenset({"interpolate"})),
    ),
    "HiFi-GAN of SpeechT5": Case(
        "transformers", transformers("SpeechT5HifiGan", "SpeechT5HifiGan", **HIFIGAN), SPECTRUM, 24, 0, PLAIN
    ),
    "HiFi-GAN of SpeechT5, with weight norm": Case(
        "transformers",
        with_weight_norm(transformers("SpeechT5HifiGan", "SpeechT5HifiGan", **HIFIGAN)),
        *(SPECTRUM, 24, 0, PLAIN),
    ),
    "EnCodec": Case(
        "transformers", transformers("EncodecModel", "Encodec", **ENCODEC), SOUND, 8, 0, frozenset({"__getitem__"})
    ),
    "DAC": Case("transformers", transformers("DacModel", "Dac", **DAC), SOUND, 8, 0, frozenset({"reshape"})),
    "UnivNet": Case(
        "transformers",
        transformers("UnivNetModel", "UnivNet", **UNIVNET),
        drawn(2, 7, 10, noise_sequence=torch.ones(2, 7, 8, dtype=torch.double)),
        *(9, 0, frozenset({"unfold"})),
    ),
    "VITS": Case(
        "transformers", transformers("VitsModel", "Vits", **VITS), words, 30, 0, frozenset({"zeros_like"}), NOISE
    ),
}
