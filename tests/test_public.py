"""What users see: names, signatures, docstrings."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import pytest

import spacebatch
from spacebatch import reference
from spacebatch.near_names import ELSEWHERE

NAMES = {
    "spacebatch": [
        "BlockChoice",
        "BlockGeometry",
        "BlockGrids",
        "Blocks",
        "Conversion",
        "Explanation",
        "Patches",
        "ReceptiveField",
        "batch_to_space",
        "caffe2",
        "choose_block",
        "convert",
        "explain",
        "fused",
        "nn",
        "patchify",
        "receptive_field",
        "reference",
        "required_paddings",
        "space_to_batch",
        "tensorflow",
        "tiled",
        "to_blocks",
        "unpatchify",
        "use_backend",
        "use_compiled",
        "warm_up",
        "windows",
    ],
    "spacebatch.nn": [
        "AtrousConv1d",
        "AtrousConv2d",
        "AtrousConv3d",
        "AtrousConvTranspose1d",
        "AtrousConvTranspose2d",
        "AtrousConvTranspose3d",
        "BatchSpace",
        "BatchToSpace",
        "SpaceToBatch",
        "functional",
    ],
    "spacebatch.fused": ["Arithmetic", "batch_to_space", "space_to_batch"],
    "spacebatch.windows": [
        "Grid",
        "Windows",
        "batch_to_time",
        "depth_to_space",
        "dilated_merge",
        "dilated_partition",
        "grid_merge",
        "grid_partition",
        "inverse_polyphase",
        "polyphase",
        "space_to_depth",
        "time_to_batch",
        "window_merge",
        "window_partition",
    ],
    "spacebatch.reference": ["BlockGeometry", "batch_to_space", "definition", "required_paddings", "space_to_batch"],
}
OPTIONS = "spatial_dims=None, {}batch_order='block_major', arrangement='interleaved', shifts=0"
PAD = OPTIONS.format("pad_value=0, ")
NO_PAD = OPTIONS.format("")
ATROUS = "(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, padding_mode='zeros', method='auto', activation='none')"
TRANSPOSED = "(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, method='auto', activation='none')"
SIGNATURES = {
    "space_to_batch": f"(x, block_shape, paddings=0, *, {PAD}, out=None)",
    "batch_to_space": f"(y, block_shape, crops=0, *, {NO_PAD}, out=None)",
    "required_paddings": "(input_shape, block_shape, base_paddings=None)",
    "use_backend": "(name)",
    "use_compiled": "(name)",
    "warm_up": "(operation, *arguments, **options)",
    "convert": "(model, *inputs, method='auto', rate=None, budget=30.0, progress=False, dry_run=False, **options)",
    "choose_block": "(model, *inputs, candidates=None)",
    "tiled": "(model, image, tile, *, halo=None, overlap=None, blend='none', sigma_scale=0.125, pad_value=0.0, batch=1, "
    "finish=None, out=None, device=None, progress=False, resume=None, group=None, grad=False)",
    "receptive_field": "(model, shape, *, dtype=None, device=None, trials=2)",
    "nn.functional.atrous_conv1d": ATROUS,
    "nn.functional.atrous_conv2d": ATROUS,
    "nn.functional.atrous_conv3d": ATROUS,
    "nn.functional.atrous_conv_transpose1d": TRANSPOSED,
    "nn.functional.atrous_conv_transpose2d": TRANSPOSED,
    "nn.functional.atrous_conv_transpose3d": TRANSPOSED,
    "nn.BatchSpace": "(*layers, rate=None)",
    "explain": "(operation, x, block_shape, *borders, **options)",
    "Explanation": "(operation, geometry, route, backend, kernel, reasons, arithmetic=None, note='')",
    "fused.space_to_batch": f"(x, block_shape, paddings=0, *, {PAD}, scale=None, bias=None, channel_dim=None, activation='none', "
    "dtype=None, pad='after', out=None)",
    "fused.batch_to_space": f"(y, block_shape, crops=0, *, {NO_PAD}, scale=None, bias=None, residual=None, channel_dim=None, "
    "activation='none', dtype=None, out=None)",
    "fused.Arithmetic": "(source, result, channel_dim=None, scale=False, bias=False, residual=None, activation='none', pad='after', "
    "gradient=False)",
    "BlockGeometry": f"(shape, block_shape, paddings=0, *, {NO_PAD}, op='space_to_batch')",
    "BlockGeometry.from_batch": f"(shape, block_shape, crops=0, *, {NO_PAD}, op='batch_to_space')",
    "BlockGeometry.windows": "(shape, size, *, shift=0, layout='NC...', covered='shift', op='windows')",
    "BlockGeometry.grid": "(shape, size, *, layout='NC...', op='grid')",
    "BlockGeometry.window_mask": "(self, *, fill=None, padding=False)",
    "BlockGeometry.space_index": "(self, batch_index)",
    "BlockGeometry.batch_index": "(self, space_index)",
    "BlockGeometry.space_indices": "(self)",
    "BlockGeometry.batch_indices": "(self)",
    "BlockGeometry.split_batch_stride": "(self, stride)",
    "BlockGeometry.valid_mask": "(self)",
    "BlockGeometry.space_to_batch": "(self, x, *, pad_value=0, out=None)",
    "BlockGeometry.batch_to_space": "(self, y, *, out=None)",
    "to_blocks": "(images, block, *, halo=0, pad_value=0, layout=None, **words)",
    "Blocks": "(data, grids, dims, single=False)",
    "Blocks.restore": "(self, y=None, **words)",
    "Blocks.valid_mask": "(self)",
    "BlockGrids": "(sizes, block, halo=0, *, op='BlockGrids')",
    "BlockGrids.valid_mask": "(self)",
    "patchify": "(images, patch_size, *, merge=1, temporal=1, layout='CHW', token='CTHW', max_num_patches=None, **words)",
    "unpatchify": "(tokens, grid_thw, patch_size, *, merge=1, temporal=1, layout='CHW', token='CTHW', **words)",
    "Patches": "(tokens, grid_thw, cu_seqlens, mask)",
    "nn.SpaceToBatch": f"(block_shape, paddings=0, *, {PAD})",
    "nn.BatchToSpace": f"(block_shape, crops=0, *, {NO_PAD})",
    "nn.SpaceToBatch.forward": "(self, x)",
    "nn.BatchToSpace.forward": "(self, y)",
    "windows.Windows": "(shape, window_size, *, shift=0, layout='NC...', covered='shift', op='Windows')",
    "windows.Windows.partition": "(self, x, *, pad_value=0, out=None, **words)",
    "windows.Windows.merge": "(self, y, *, out=None, **words)",
    "windows.Windows.mask": "(self, like=None, *, fill=None, padding=False)",
    "windows.Grid": "(shape, grid_size, *, layout='NC...', op='Grid')",
    "windows.window_partition": "(x, window_size, *, shift=0, layout='NC...', covered='shift', pad_value=0, out=None, **words)",
    "windows.window_merge": "(y, window_size, image_size, *, shift=0, layout='NC...', covered='shift', out=None, **words)",
    "windows.grid_partition": "(x, grid_size, *, layout='NC...', pad_value=0, out=None, **words)",
    "windows.grid_merge": "(y, grid_size, image_size, *, layout='NC...', out=None, **words)",
    "windows.dilated_partition": "(x, dilation, *, tile=None, layout='NC...', pad_value=0)",
    "windows.dilated_merge": "(y, dilation, image_size, *, tile=None, layout='NC...')",
    "windows.polyphase": "(x, factor, *, layout='NC...', pad_value=0)",
    "windows.inverse_polyphase": "(y, size=None, *, layout='NC...')",
    "windows.time_to_batch": "(x, dilation, *, layout='NC...', pad_value=0)",
    "windows.batch_to_time": "(y, dilation, length=None, *, layout='NC...')",
    "windows.space_to_depth": "(x, block_size, *, order='DCR', layout='NC...')",
    "windows.depth_to_space": "(y, block_size, *, order='DCR', layout='NC...')",
    "reference.space_to_batch": f"(x, block_shape, paddings=0, *, {PAD}, out=None)",
    "reference.batch_to_space": f"(y, block_shape, crops=0, *, {NO_PAD}, out=None)",
    "reference.definition.space_to_batch": "(x, block_shape, paddings=0, *, pad_value=0, **options)",
    "reference.definition.batch_to_space": "(y, block_shape, crops=0, **options)",
}
PROPERTIES = ("divisible", "arguments", "inverse", "axes", "padded", "shifted", "empty")


def found(path: str) -> Any:
    value: Any = spacebatch
    for part in path.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(
    "module",
    [spacebatch, spacebatch.nn, reference, spacebatch.fused, spacebatch.windows],
    ids=lambda module: module.__name__,
)
def test_names(module: Any) -> None:
    assert module.__all__ == NAMES[module.__name__]
    assert {*module.__all__} <= {*dir(module)}
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_the_reference_is_the_same_object() -> None:
    assert spacebatch.BlockGeometry is reference.BlockGeometry
    assert spacebatch.required_paddings is reference.required_paddings


@pytest.mark.parametrize("path", SIGNATURES)
def test_signatures(path: str) -> None:
    signature = inspect.signature(found(path))
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    assert str(signature.replace(parameters=parameters, return_annotation=signature.empty)) == SIGNATURES[path]


@pytest.mark.parametrize("path", [*SIGNATURES, *(f"BlockGeometry.{name}" for name in PROPERTIES)])
def test_docstrings_have_an_example(path: str) -> None:
    document = inspect.getdoc(found(path))
    assert document
    # a module's forward is called through the module, and an explanation made by explain, patches by patchify: they have it
    assert ">>>" in document or path.endswith("forward") or path in ("Explanation", "Patches")


def test_public_methods_of_a_geometry() -> None:
    public = {name for name in vars(spacebatch.BlockGeometry) if not name.startswith("_")}
    listed = {path.partition(".")[2] for path in SIGNATURES if path.startswith("BlockGeometry.")}
    assert public - {*spacebatch.BlockGeometry.__dataclass_fields__} == {*listed, *PROPERTIES}


def said_of(name: str) -> str:
    with pytest.raises(AttributeError) as caught:
        getattr(spacebatch, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("space_to_bach", "space_to_batch"),
        ("spacetobatch", "space_to_batch"),
        ("blockgeometry", "BlockGeometry"),
        ("Space_to_batch", "space_to_batch"),
        ("window_partitions", "windows.window_partition"),
        ("pixelshuffle", 'windows.depth_to_space(…, order="CRD")'),
        *ELSEWHERE.items(),
    ],
)
def test_a_wrong_name_suggests_the_right_one(name: str, meant: str) -> None:
    assert said_of(name) == f"module 'spacebatch' has no attribute {name!r}; did you mean spacebatch.{meant}?"
    assert found(meant.partition("(")[0])


@pytest.mark.parametrize(
    ("room", "name", "meant"),
    [
        ("windows", "window_reverse", "windows.window_merge"),
        ("windows", "Window", "windows.Windows"),
        ("windows", "space_to_batch", "space_to_batch"),
        ("nn", "AtrousConv2D", "nn.AtrousConv2d"),
        ("nn", "atrous_conv2d", "nn.functional.atrous_conv2d"),
        ("nn.functional", "atrousconv1d", "nn.functional.atrous_conv1d"),
        ("fused", "space_to_bach", "fused.space_to_batch"),
        ("tensorflow", "space_to_batch_n", "tensorflow.space_to_batch_nd"),
        ("caffe2", "CreateOperator", "caffe2.create_operator"),
        ("nn", "plot", ""),
        ("nn", "__path__of__", ""),
    ],
)
def test_rooms_suggest_names_too(room: str, name: str, meant: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(import_module(f"spacebatch.{room}"), name)
    end = f"; did you mean spacebatch.{meant}?" if meant else ""
    assert str(caught.value) == f"module 'spacebatch.{room}' has no attribute {name!r}{end}"
    assert not meant or found(meant)


def test_unknown_names() -> None:
    for name in ("plot", "_functions", "__wrapped__"):
        assert said_of(name) == f"module 'spacebatch' has no attribute {name!r}"
    public = {*spacebatch.nn.__all__, *spacebatch.windows.__all__} - {"functional"}
    assert public <= {*ELSEWHERE}


def test_the_version() -> None:
    assert spacebatch.__version__ == "0.1.0"
