"""Any picture file as the photograph of the main job: three channels between 0 and 1, and a line for each thing that was converted.

Pillow decodes the file as it is; all else is done in strips of rows, so that a large picture takes hardly more memory than Pillow's own.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]

MOST_PIXELS = 1 << 21  # that the job works on: a picture of more is reduced
STRIP_PIXELS = 1 << 20  # converted at a time
_EXIF_ORIENTATION = 0x0112
_OF_32_BITS = ("I", "F")  # integers, floats: Pillow's only modes with no range of their own


class Photograph(NamedTuple):
    """What a file holds.

    Attributes:
        pixels: float32 array of shape (1, 3, H, W), between 0 and 1.
        converted: what was done to the picture in the file, a line each.
    """

    pixels: Pixels
    converted: tuple[str, ...]


def read(path: str | Path) -> Photograph:
    """The picture in a file of any kind that Pillow knows.

    Raises:
        ValueError: it is not there, is no picture, or is a broken one; the message is a line that says which.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, which are reduced, and of details of broken ones
            with Image.open(path) as image:
                return _photograph(image)
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not a picture of a kind that Pillow knows") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # decoders raise anything at all over a broken file
        raise ValueError(f"{path} cannot be read as a picture: {_one_line(error)}") from error


def _photograph(image: Any) -> Photograph:
    converted = _kind(image)
    if getattr(image, "n_frames", 1) > 1:
        converted.append(f"the first of {image.n_frames} frames")
    turned = image.getexif().get(_EXIF_ORIENTATION, 1)
    width, height = image.size
    rows, columns = factors(height, width)
    image.load()
    pixels = _reduced(image, rows, columns)
    if image.mode in _OF_32_BITS:
        pixels = _stretched(pixels, converted)
    if turned in range(2, 9):
        converted.append("turned or mirrored as its EXIF data say")
        pixels = _turned(pixels, turned)
    if rows * columns > 1:
        converted.append(
            f"reduced from {width} x {height} pixels, a mean of {columns} x {rows} each, to at most {MOST_PIXELS / 1e6:.1f} million"
        )
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return Photograph(np.array(pixels.transpose(2, 0, 1)[None], dtype=np.float32, order="C"), tuple(converted))


def factors(height: int, width: int) -> tuple[int, int]:
    """By how much rows and columns are reduced, both alike where the picture is not too narrow for it.

    >>> factors(600, 512), factors(6000, 9000), factors(1, 54_000_000)
    ((1, 1), (6, 6), (1, 26))
    """
    rows = columns = max(1, math.ceil(math.sqrt(height * width / MOST_PIXELS)))
    if rows > height:
        rows, columns = height, math.ceil(width / MOST_PIXELS)
    elif columns > width:
        rows, columns = math.ceil(height / MOST_PIXELS), width
    return rows, columns


def _kind(image: Any) -> list[str]:
    """What converting the modes of Pillow comes to, but for plain RGB."""
    mode = image.mode
    told = []
    if mode in ("P", "PA"):
        told.append("a palette of colours to RGB")
    elif mode in ("1", "L", "LA", "I", "F") or mode.startswith("I;16"):
        told.append("grey to three equal channels")
    elif mode not in ("RGB", "RGBA", "RGBa", "RGBX"):
        told.append(f"{mode} to RGB")
    if mode.startswith("I;16"):
        told.append("16 bits, all of them kept")
    elif any(";16" in str(tile[-1]) for tile in image.tile) and mode not in _OF_32_BITS:
        told.append("16 bits, of which Pillow reads the upper 8")
    if _transparent(image):
        told.append("transparency to a white background")
    return told


def _transparent(image: Any) -> bool:
    return image.mode in ("LA", "PA", "RGBA", "RGBa") or (
        "transparency" in image.info and image.mode in ("1", "L", "P", "RGB")
    )


def _reduced(image: Any, rows: int, columns: int) -> Pixels:
    """Float32 (H // rows, W // columns, 1 or 3) of means; what is left over at the ends is dropped."""
    width, height = image.size
    height, width = height // rows * rows, width // columns * columns
    step = max(1, STRIP_PIXELS // (width * rows)) * rows
    strips = []
    for top in range(0, height, step):
        strip = _channels(image.crop((0, top, width, min(top + step, height))))
        h, w, channels = strip.shape
        strips.append(strip.reshape(h // rows, rows, w // columns, columns, channels).mean(axis=(1, 3)))
    return np.concatenate(strips)


def _channels(strip: Any) -> Pixels:
    """(H, W, 1 or 3) between 0 and 1; of 32 bits, the numbers as they are."""
    if _transparent(strip):
        rgba = _floats(strip.convert("RGBA"), 255)
        blended: Pixels = 1 - (1 - rgba[..., :3]) * rgba[..., 3:]
        return blended
    if strip.mode in ("1", "L"):
        return _floats(strip.convert("L"), 255)[..., None]
    if strip.mode in _OF_32_BITS:
        return _floats(strip, 1)[..., None]
    if strip.mode.startswith("I;16"):
        return _floats(strip, 65535)[..., None]
    return _floats(strip.convert("RGB"), 255)


def _floats(strip: Any, most: float) -> Pixels:
    numbers: Pixels = np.asarray(strip).astype(np.float32)
    numbers /= most
    return numbers


def _stretched(pixels: Pixels, converted: list[str]) -> Pixels:
    """From the least number to the most, where they are not between 0 and 1 already; what is not finite is dark."""
    finite = pixels[np.isfinite(pixels)].astype(np.float64)
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    if low < 0 or high > 1:
        converted.append(f"stretched from {low:g} ... {high:g} to 0 ... 1")
        pixels = ((pixels - low) / ((high - low) or 1.0)).astype(np.float32)
    return np.where(np.isfinite(pixels), pixels, np.float32(0))


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """The picture upright, by the number that EXIF has for how the camera was held."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
