"""A folder of images -> one uint8 array. The class of an image is the name of its sub-folder.

Images in a sub-folder `unlabelled` have no class. Where the sub-folders are parts (train and test, or valid), classes lie below them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vaekit.data.arrays import Raw
from vaekit.data.parts import ROLES, completed
from vaekit.errors import DataError

_NO_CLASS = ("unlabelled", "unlabeled")

_LARGEST_DEFAULT = 64
"""Side length above which images are shrunk unless a size is asked for."""


def read_folder(folder: Path, image_size: tuple[int, int] | None, gray: bool | None = None) -> Raw:
    """Read every image below `folder`.

    Gray images stay gray when all are gray, otherwise all become RGB; transparent pixels lie on white, 16-bit gray is
    brought to 8 bits, the camera's orientation is applied, an animation gives its first frame. Pictures of floats are
    white at 1 or, where one of the folder goes beyond it, at 255.

    Args:
        folder: holds images, or one sub-folder per class that does, or sub-folders train, valid and test of either kind.
        image_size: (height, width) to bring every image to (scaled and centre-cropped). None keeps the images' own
            size when they share one of at most 64 pixels a side; otherwise 64 by 64, or the smallest side if less.
        gray: turn all images gray (True) or to colour (False) whatever they are.

    Raises:
        DataError: no image, an unreadable image (named), or images of which some have a class and some have none.
    """
    files = _image_files(folder)
    parts = _parts(folder, files)
    labels, classes = _classes(folder, files) if parts is None else _classes_of_parts(folder, files)
    size, mode, floats = _common_form(files, image_size)
    mode = mode if gray is None else "L" if gray else "RGB"
    channels = 3 if mode == "RGB" else 1
    white = _white_of_floats(floats)
    values = np.empty((len(files), channels, *size), np.uint8)
    for row, file in enumerate(files):
        pixels = np.asarray(_fit(_open(file, mode, white), size))
        values[row] = pixels.transpose(2, 0, 1) if channels == 3 else pixels[None]
    own = None if parts is None else completed(parts, str(folder))
    return Raw(values, labels, classes, own, maximum=255, channels_first=True)


def has_images(folder: Path) -> bool:
    """Whether `read_folder` would find an image below `folder`."""
    try:
        return bool(_image_files(folder))
    except DataError:
        return False


def _image_files(folder: Path) -> list[Path]:
    from PIL import Image

    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = sorted(p for p in _files_below(folder) if p.suffix.lower() in known)
    if not files:
        raise DataError(
            f"{folder}: no images found; give a folder of PNG or JPEG files, or of one sub-folder per class"
        )
    return files


def _files_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Every file that is not hidden. Links to folders are followed, except back to a folder that the link lies in."""
    here = folder.resolve()
    if here in above:
        return
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be read ({error.strerror}); make it readable, or move it elsewhere"
        ) from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files_below(entry, (*above, here))
        elif entry.is_file():
            yield entry


def _parts(folder: Path, files: list[Path]) -> dict[str, np.ndarray] | None:
    """Row numbers of each part, where every image lies in a folder named after one and there is one to train on."""
    names = [p.relative_to(folder).parts[0].lower() if p.parent != folder else "" for p in files]
    if not set(names) <= set(ROLES) or "train" not in {ROLES[name] for name in names}:
        return None
    roles = np.array([ROLES[name] for name in names])
    return {part: np.flatnonzero(roles == part) for part in ("train", "validation", "test")}


def _classes_of_parts(folder: Path, files: list[Path]) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    """Classes below the folders of parts, each folder by itself: a part may be without."""
    found: dict[Path, str] = {}
    for name in {p.relative_to(folder).parts[0] for p in files}:
        mine = [p for p in files if p.relative_to(folder).parts[0] == name]
        labels, classes = _classes(folder / name, mine, fewest=1)
        if labels is not None and classes is not None:
            found |= {p: classes[label] for p, label in zip(mine, labels, strict=True) if label >= 0}
    names = tuple(sorted(set(found.values())))
    if len(names) < 2:
        return None, None
    return np.array([names.index(found[p]) if p in found else -1 for p in files], np.int64), names


def _classes(folder: Path, files: list[Path], fewest: int = 2) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    names = [p.relative_to(folder).parts[0] if p.parent != folder else None for p in files]
    if all(name is None for name in names):
        return None, None
    if None in names:
        raise DataError(
            f"{files[names.index(None)]}: lies beside class folders; move it into one of them, or into one named unlabelled"
        )
    classes = tuple(sorted({name for name in names if name is not None and name.lower() not in _NO_CLASS}))
    if len(classes) < fewest:
        return None, None
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number.get(name or "", -1) for name in names], np.int64), classes


def _common_form(
    files: list[Path], image_size: tuple[int, int] | None
) -> tuple[tuple[int, int], Literal["L", "RGB"], list[Path]]:
    """The (height, width) and the mode that all images are brought to, and which hold floats; reads headers only."""
    sizes, gray, floats = set(), True, []
    for file in files:
        with _image(file) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            sizes.add(image.size if turned else image.size[::-1])
            if image.mode == "F":
                floats.append(file)
            gray = gray and (image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16"))
    if image_size is None:
        shared = next(iter(sizes)) if len(sizes) == 1 else None
        if shared and max(shared) <= _LARGEST_DEFAULT:
            image_size = shared
        else:
            image_size = (min(_LARGEST_DEFAULT, *(min(s) for s in sizes)),) * 2
    return image_size, "L" if gray else "RGB", floats


def _white_of_floats(files: list[Path]) -> int:
    """The value that is white in pictures of floats: 1 where none goes beyond it, else 255.

    Of all pictures together, since by itself a dark one of white 255 may have no value above 1.
    """
    high = 0.0
    for file in files:
        with _image(file) as image:
            pixels = np.asarray(image)
        if not np.isfinite(pixels).all():
            raise DataError(f"{file}: holds a value that is not finite (NaN or infinity); repair or remove it")
        if pixels.min() < 0 or pixels.max() > 255:
            found = f"values from {float(pixels.min()):g} to {float(pixels.max()):g}"
            raise DataError(f"{file}: {found}; expected 0 to 1 or 0 to 255 in a picture of floats, rescale it")
        high = max(high, float(pixels.max()))
    return 1 if high <= 1 else 255


@contextmanager
def _image(file: Path) -> Iterator[Any]:
    """The image in a file, opened; whatever Pillow says of it becomes a DataError that names the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            yield image
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = "no known kind of image" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{file}: cannot be read ({reason}); repair or remove it") from error


def _open(file: Path, mode: str, white_of_floats: int) -> Any:
    from PIL import Image, ImageOps

    with _image(file) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I") or image.mode == "F":
        pixels = np.asarray(image, np.float64) * 255 / (white_of_floats if image.mode == "F" else 65535)
        if pixels.min() < 0 or pixels.max() > 255:
            raise DataError(f"{file}: holds values outside 0 to 65535; save it in 8 or 16 bits")
        image = Image.fromarray(np.rint(pixels).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _fit(image: Any, size: tuple[int, int]) -> Any:
    """Scale and centre-crop to (height, width) without changing the picture's proportions."""
    from PIL import Image, ImageOps

    height, width = size
    return image if image.size == (width, height) else ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
