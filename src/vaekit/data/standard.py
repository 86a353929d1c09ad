"""The built-in sets: scikit-learn's digits, and MNIST and Fashion-MNIST from their four IDX files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vaekit.data.arrays import Raw
from vaekit.data.idx import read_idx
from vaekit.errors import DataError


@dataclass(frozen=True)
class _IdxSet:
    folder: str
    url: str
    classes: tuple[str, ...]
    sha256: dict[str, str]


_MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

IDX_SETS = {
    "mnist": _IdxSet(
        "mnist",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        tuple("0123456789"),
        dict(
            zip(
                _MNIST_FILES,
                (
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
                strict=True,
            )
        ),
    ),
    "fashion-mnist": _IdxSet(
        "fashion_mnist",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        dict(
            zip(
                _MNIST_FILES,
                (
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
                strict=True,
            )
        ),
    ),
}


BUILT_IN = ("digits", "shapes", *IDX_SETS)
"""Names of the sources that need no file of the user's."""


def read_digits() -> Raw:
    """The 1,797 digits of 8 by 8 pixels and 17 gray levels that come with scikit-learn (UCI's optdigits test set)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    values, labels = digits.images[:, None].astype(np.uint8), digits.target.astype(np.int64)
    return Raw(values, labels, tuple("0123456789"), maximum=16, channels_first=True)


def read_idx_set(name: str, data_dir: Path | None) -> Raw:
    """MNIST or Fashion-MNIST: 50,000 training, 10,000 validation (the last of the training file) and 10,000 test images.

    Looks in `data_dir`, its sub-folder of that name, and the download cache, plain or .gz; else downloads.
    """
    spec = IDX_SETS[name]
    arrays = [read_idx(_locate(spec, name, stem, data_dir)) for stem in _MNIST_FILES]
    values = np.concatenate([arrays[0], arrays[2]])[:, None]
    labels = np.concatenate([arrays[1], arrays[3]]).astype(np.int64)
    train = len(arrays[0])
    if len(values) != len(labels) or train <= 10_000 or labels.max() >= len(spec.classes):
        raise DataError(
            f"{name}: the files are not {name}'s four (images {len(values)}, labels {len(labels)}); get them again"
        )
    parts = (np.arange(train - 10_000), np.arange(train - 10_000, train), np.arange(train, len(values)))
    return Raw(values, labels, spec.classes, parts, maximum=255, channels_first=True)


def _locate(spec: _IdxSet, name: str, stem: str, data_dir: Path | None) -> Path:
    folders = [] if data_dir is None else [data_dir, data_dir / spec.folder, data_dir / name]
    for folder in folders:
        for file in (folder / f"{stem}.gz", folder / stem):
            if file.is_file():
                return file
    return _download(spec, name, stem)


def _download(spec: _IdxSet, name: str, stem: str) -> Path:
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    cache = Path(pooch.os_cache("vaekit")) / spec.folder
    try:
        return Path(pooch.retrieve(f"{spec.url}{stem}.gz", f"sha256:{spec.sha256[stem]}", f"{stem}.gz", cache))
    except (OSError, ValueError) as error:
        reason = "its checksum is wrong" if isinstance(error, ValueError) else "no network"
        raise DataError(
            f"{name}: {stem}.gz could not be downloaded ({reason}); put {', '.join(f'{s}.gz' for s in _MNIST_FILES)} "
            f"into a folder and give it as --data-dir (or VAEKIT_DATA)"
        ) from error
