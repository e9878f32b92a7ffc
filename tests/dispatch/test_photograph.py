"""Pictures of every kind as the main job reads them: the numbers, and what is said of the conversion."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from spacebatch import photograph

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = "grey to three equal channels"
COLOURS = "a palette of colours to RGB"
WHITE = "transparency to a white background"


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **{"format": "PNG", **options})
    return file.getvalue()


def rgb16() -> bytes:
    """A PNG of 16 bits in each of three channels, which Pillow does not write; the lower 8 are lost when it reads them."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB.astype(np.uint16) * 256 + 77)
    chunks = (b"IHDR", struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def half_clear() -> Image.Image:
    alpha = np.full((5, 7, 1), 51, np.uint8)
    return Image.fromarray(np.concatenate([RGB, alpha], axis=2))


def cmyk() -> bytes:
    return saved(Image.new("CMYK", (7, 5), (0, 255, 255, 0)), format="JPEG", quality=95)


def palette(**options: Any) -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return saved(image, **options)


def animated() -> bytes:
    frames = [Image.new("L", (7, 5), grey) for grey in (0, 100, 200)]
    return saved(frames[0], format="GIF", save_all=True, append_images=frames[1:])


def grey(numbers: np.ndarray, **options: Any) -> bytes:
    return saved(Image.fromarray(numbers), **options)


def of_grey(numbers: Any) -> np.ndarray:
    return np.repeat(np.asarray(numbers, np.float32)[..., None], 3, axis=2)


RED, BLUE, BLACK = np.eye(3)[0], np.eye(3)[2], np.zeros(3)
SIXTEEN = np.array([[0, 13107, 65535]], np.uint16)
# name: (the file, pixels of (H, W, 3) between 0 and 1, what is said)
KINDS = {
    "rgb": (saved(Image.fromarray(RGB)), RGB / 255, []),
    "1 x 1": (saved(Image.new("RGB", (1, 1), (255, 0, 0))), [[RED]], []),
    "grey": (grey(RGB[..., 0]), of_grey(RGB[..., 0] / 255), [GREY]),
    "bits": (saved(Image.fromarray(RGB[..., 0] > 99)), of_grey(RGB[..., 0] > 99), [GREY]),
    "grey, 16 bits": (grey(SIXTEEN), of_grey([[0, 0.2, 1]]), [GREY, "16 bits, all of them kept"]),
    "rgb, 16 bits": (rgb16(), RGB / 255, ["16 bits, of which Pillow reads the upper 8"]),
    "alpha": (saved(half_clear()), 1 - (1 - RGB / 255) * 0.2, [WHITE]),
    "grey, alpha": (saved(Image.new("LA", (1, 1), (0, 0))), [[[1, 1, 1]]], [GREY, WHITE]),
    "cmyk": (cmyk(), np.broadcast_to(RED, (5, 7, 3)), ["CMYK to RGB"]),
    "palette": (palette(), [[RED, BLUE]], [COLOURS]),
    "palette, clear": (palette(transparency=0), [[[1, 1, 1], BLUE]], [COLOURS, WHITE]),
    "animated": (animated(), np.zeros((5, 7, 3)), [COLOURS, "the first of 3 frames"]),
    "floats": (
        grey(np.array([[-2, 0, np.nan], [2, np.inf, 1]], np.float32), format="TIFF"),
        of_grey([[0, 0.5, 0], [1, 0, 0.75]]),
        [GREY, "stretched from -2 ... 2 to 0 ... 1"],
    ),
    "floats between 0 and 1": (
        grey(np.array([[0.25, 0.5]], np.float32), format="TIFF"),
        of_grey([[0.25, 0.5]]),
        [GREY],
    ),
    "integers of 32 bits": (
        grey(np.array([[10, 20, 50]], np.int32), format="TIFF"),
        of_grey([[0, 0.25, 1]]),
        [GREY, "stretched from 10 ... 50 to 0 ... 1"],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str, tmp_path: Path) -> None:
    file, expected, said = KINDS[kind]
    (tmp_path / "picture").write_bytes(file)
    found = photograph.read(tmp_path / "picture")
    assert found.pixels.dtype == np.float32
    assert found.pixels.flags.c_contiguous
    assert found.pixels.flags.writeable
    assert list(found.converted) == said
    expected = np.asarray(expected).transpose(2, 0, 1)[None]
    assert found.pixels.shape == expected.shape
    # float32 of n / 255, and a lossy file
    np.testing.assert_allclose(found.pixels, expected, atol=0.02 if kind == "cmyk" else 1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_was_turned(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "turned.png").write_bytes(saved(Image.fromarray(RGB), exif=exif))
    found = photograph.read(tmp_path / "turned.png")
    with Image.open(tmp_path / "turned.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image), np.float32) / 255
    assert np.array_equal(found.pixels[0].transpose(1, 2, 0), upright)
    assert bool(found.converted) == (orientation > 1)


@pytest.mark.parametrize(
    ("size", "reduced"),
    [((5, 7), (2, 3)), ((1, 35), (1, 8)), ((35, 1), (8, 1)), ((2, 2), (2, 2))],
    ids=lambda size: f"{size[0]} x {size[1]}",
)
def test_a_picture_with_too_many_pixels_is_reduced(
    size: tuple[int, int], reduced: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In strips of a row of results; each is the mean of a rectangle, and the rest is dropped."""
    monkeypatch.setattr(photograph, "MOST_PIXELS", 9)
    monkeypatch.setattr(photograph, "STRIP_PIXELS", 1)
    pixels = RANDOM.integers(0, 256, (*size, 3), dtype=np.uint8)
    (tmp_path / "large.png").write_bytes(saved(Image.fromarray(pixels)))
    found = photograph.read(tmp_path / "large.png")
    rows, columns = (s // r for s, r in zip(size, reduced, strict=True))
    for i, j in np.ndindex(reduced):
        mean = pixels[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns].mean(axis=(0, 1)) / 255
        np.testing.assert_allclose(found.pixels[0, :, i, j], mean, atol=1e-6)
    assert found.pixels.shape == (1, 3, *reduced)
    if size == reduced:
        assert not found.converted
    else:
        assert found.converted[0].startswith(
            f"reduced from {size[1]} x {size[0]} pixels, a mean of {columns} x {rows} "
        )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is not a picture of a kind that Pillow knows"),
        (b"a text\n", "is not a picture of a kind that Pillow knows"),
        (KINDS["cmyk"][0][:-10], "cannot be read: image file is truncated"),
        (KINDS["rgb"][0][:-30] + bytes(30), "cannot be read: broken data stream"),
        (KINDS["grey"][0].replace(b"IHDR", b"IHDR" + bytes(4), 1), "is not a picture of a kind that Pillow knows"),
    ],
    ids=["none", "empty", "text", "truncated", "broken", "no header"],
)
def test_no_picture(data: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=f"picture {message}") as caught:
        photograph.read(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be read: Is a directory$"):
        photograph.read(tmp_path)


def test_a_picture_that_pillow_refuses_for_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    (tmp_path / "large.png").write_bytes(KINDS["rgb"][0])
    with pytest.raises(
        ValueError, match=r"large.png cannot be read as a picture: Image size \(35 pixels\) exceeds limit"
    ):
        photograph.read(tmp_path / "large.png")
