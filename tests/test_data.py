"""Readers, splits and binarisation, on files made here."""

import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit as vk
from vaekit.data.arrays import as_stored, image_axes
from vaekit.data.batches import epoch_batches
from vaekit.data.binarize import bernoulli_pixels, draw_once
from vaekit.data.conform import load_rows
from vaekit.data.idx import read_idx
from vaekit.errors import DataError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def idx_bytes(array, code, kind):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(kind).tobytes()


@pytest.mark.parametrize(
    ("code", "kind"), [(8, ">u1"), (9, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_round_trip(tmp_path, code, kind, zipped):
    array = np.arange(24).reshape(2, 3, 4)
    raw = idx_bytes(array, code, kind)
    (tmp_path / "f").write_bytes(gzip.compress(raw) if zipped else raw)
    np.testing.assert_array_equal(read_idx(tmp_path / "f"), array)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:6], lambda b: b"", lambda b: b"\0\0\x07\x01" + b]
)
def test_damaged_idx_is_refused_by_name(tmp_path, damage):
    (tmp_path / "broken").write_bytes(damage(idx_bytes(np.zeros((2, 3)), 8, ">u1")))
    with pytest.raises(DataError, match="broken"):
        read_idx(tmp_path / "broken")


def test_truncated_gzip_is_refused(tmp_path):
    (tmp_path / "broken.gz").write_bytes(gzip.compress(idx_bytes(np.zeros((9, 9)), 8, ">u1"))[:-4])
    with pytest.raises(DataError, match="get the file again"):
        read_idx(tmp_path / "broken.gz")


def test_digits_have_17_levels_and_disjoint_splits():
    data = vk.load("digits")
    assert data.schema.levels == 17
    assert data.schema.shape == (1, 8, 8)
    assert sum(map(len, data.splits().values())) == 1797
    assert data.train.values.dtype == torch.uint8
    x = data.train.rows(slice(None))
    steps = x * 16
    torch.testing.assert_close(steps, steps.round(), atol=1e-5, rtol=0)
    torch.testing.assert_close(data.schema.mean, x.mean(0))
    assert vk.load("digits").to_json() == data.to_json()
    assert vk.load("digits", split_seed=1).to_json()["splits"] != data.to_json()["splits"]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 7), (5, 7)),
        ((5, 4, 6), (5, 1, 4, 6)),
        ((5, 4, 6, 3), (5, 3, 4, 6)),
        ((5, 3, 4, 6), (5, 3, 4, 6)),
        ((5, 4, 6, 1), (5, 1, 4, 6)),
    ],
)
def test_axes(shape, expected):
    assert image_axes(np.zeros(shape), "x").shape == expected


def test_channels_last_keeps_the_picture(rng):
    picture = rng.integers(0, 255, (2, 4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(image_axes(picture, "x")[1, 2], picture[1, :, :, 2])


@pytest.mark.parametrize(
    ("values", "maximum"),
    [
        ([0, 1], 1),
        ([0, 16], 16),
        ([0.0, 255.0], 255),
        ([3, 64], 255),
        ([0.5, 1.0], None),
        ([-1, 3], None),
        ([0, 256], None),
    ],
)
def test_levels_come_from_the_data(values, maximum):
    stored, top = as_stored(np.array([values]), None, "x")
    assert top == maximum
    assert stored.dtype == (torch.float32 if maximum is None else torch.uint8)
    np.testing.assert_array_equal(stored.numpy()[0], np.array(values, np.float32))


def make_images(folder, rng):
    """Every mode Pillow may meet, in sizes of their own, and files that are no images."""
    gray = rng.integers(0, 255, (20, 14), dtype=np.uint8)
    colour = rng.integers(0, 255, (12, 18, 3), dtype=np.uint8)
    made = {
        "L": Image.fromarray(gray), "RGB": Image.fromarray(colour), "1": Image.fromarray(gray > 99),
        "P": Image.fromarray(colour).convert("P"), "RGBA": Image.fromarray(colour).convert("RGBA"),
        "LA": Image.fromarray(gray).convert("LA"), "I;16": Image.fromarray(gray.astype(np.uint16) * 257),
    }  # fmt: skip
    for i, (mode, image) in enumerate(made.items()):
        for copy in range(3):
            target = folder / ("even" if i % 2 else "odd")
            target.mkdir(parents=True, exist_ok=True)
            image.save(target / f"{mode.replace(';', '')}-{copy}.png")
    (folder / "odd" / "notes.txt").write_text("not an image")
    (folder / "odd" / ".hidden.png").write_bytes(b"nothing")
    return len(made) * 3


def test_folder_of_mixed_images(tmp_path, rng):
    count = make_images(tmp_path, rng)
    data = vk.load(tmp_path)
    assert data.schema.shape == (3, 12, 12)
    assert data.schema.classes == ("even", "odd")
    assert sum(map(len, data.splits().values())) == count
    assert vk.load(tmp_path, image_size=(6, 9)).schema.shape == (3, 6, 9)


def test_gray_folder_keeps_its_pixels(tmp_path, rng):
    pictures = rng.integers(0, 255, (12, 9, 7), dtype=np.uint8)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{i:02}.png")
    rows = load_rows(tmp_path, vk.load(tmp_path).schema)
    np.testing.assert_array_equal(rows.values[:, 0].numpy(), pictures)


def test_16_bit_and_transparent_images(tmp_path):
    for i in range(10):
        Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / f"{i}.png")
    assert int(vk.load(tmp_path).train.values.min()) == 255
    clear = tmp_path / "clear"
    clear.mkdir()
    for i in range(10):
        Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(clear / f"{i}.png")
    assert int(vk.load(clear).train.values.min()) == 255, "transparent pixels lie on white"


def test_camera_orientation_is_applied(tmp_path):
    for i in range(10):
        image = Image.fromarray(np.zeros((4, 8), np.uint8))
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / f"{i}.jpg", exif=exif)
    assert vk.load(tmp_path).schema.shape == (1, 8, 4)


def test_damaged_image_is_named(tmp_path, rng):
    make_images(tmp_path, rng)
    whole = (tmp_path / "odd" / "L-0.png").read_bytes()
    (tmp_path / "odd" / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"half\.png"):
        vk.load(tmp_path)


def test_stray_image_beside_classes_is_named(tmp_path, rng):
    make_images(tmp_path, rng)
    Image.new("L", (4, 4)).save(tmp_path / "stray.png")
    with pytest.raises(DataError, match=r"stray\.png"):
        vk.load(tmp_path)


def test_npz_with_parts_of_its_own(tmp_path, rng):
    x = rng.integers(0, 256, (50, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x_train=x[:40], y_train=np.arange(40) % 3, x_test=x[40:], y_test=np.arange(10) % 3)
    data = vk.load(tmp_path / "d.npz")
    np.testing.assert_array_equal(data.test.values[:, 0].numpy(), x[40:])
    assert (len(data.train), len(data.validation)) == (36, 4)
    assert data.schema.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 4)), "no values"),
        (np.zeros(9), "rows"),
        (np.array([["a"]] * 20), "not numbers"),
        (np.ones((20, 3), complex), "not numbers"),
        (np.where(np.arange(60).reshape(20, 3) == 31, np.nan, 0.5), "row 10"),
        (np.ones((5, 3)), "too few"),
        (np.full((20, 3), 1e30), "single precision"),
        (np.zeros((20, 2, 3, 4, 5)), "none of"),
    ],
)
def test_unusable_arrays_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        vk.load(tmp_path / "a.npy")


def test_pickled_array_is_refused(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{}] * 20, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        vk.load(tmp_path / "o.npy")


def test_real_values_keep_their_units(rng):
    x = rng.normal([100, -3], [50, 0.1], (200, 2)).astype(np.float32)
    data = vk.load(x)
    assert data.schema.support == "real"
    np.testing.assert_allclose(data.schema.scale, data.train.values.double().std(0, correction=0), rtol=1e-6)
    assert set(data.train.values.flatten().tolist()) <= set(x.flatten().tolist())


@pytest.mark.parametrize("maximum", [255, 16])
def test_binarisation_has_exactly_the_pixels_probability(maximum):
    values = torch.tensor([0, 1, maximum // 2, maximum - 1, maximum], dtype=torch.uint8)
    n = 100_000
    bits = bernoulli_pixels(values.repeat(n, 1), maximum, np.random.default_rng(1)).double()
    p = values.double() / maximum
    error = (bits.mean(0) - p).abs()
    assert bool((error <= 4.5 * (p * (1 - p) / n).sqrt()).all()), error
    assert bits[:, 0].sum() == 0
    assert bits[:, -1].sum() == n


def test_ties_are_broken_exactly():
    """With every first byte a tie the answer is that of the second byte, and so on."""

    class Bytes:
        def __init__(self):
            self.calls = iter([bytes([7, 7, 7]), bytes([7, 6, 8]), bytes([3])])

        def bytes(self, n):
            out = next(self.calls)
            assert len(out) == n
            return out

    assert bernoulli_pixels(torch.tensor([7, 7, 7], dtype=torch.uint8), 255, Bytes()).tolist() == [1, 1, 0]


def test_fixed_pixels_follow_the_published_protocol():
    pixels = [torch.full((3, 4), v, dtype=torch.uint8) for v in (80, 200)]
    state = np.random.RandomState(777)
    expected = [(state.random_sample(p.shape) < p.numpy() / 255).astype(np.uint8) for p in pixels]
    for bits, want in zip(draw_once(pixels, 255, 777), expected, strict=True):
        np.testing.assert_array_equal(bits.numpy(), want)


def test_static_and_dynamic_share_their_test_pixels():
    static, dynamic = (vk.load("digits", binarize=how) for how in ("static", "dynamic"))
    assert static.schema.levels == dynamic.schema.levels == 2
    assert torch.equal(static.test.values, dynamic.test.values)
    assert dynamic.train.dynamic
    assert not static.train.dynamic
    assert dynamic.source["binarize"] == "dynamic"


def test_dynamic_rows_change_with_the_epoch_and_repeat_with_the_seed():
    split = vk.load("digits", binarize="dynamic").train
    passes = [
        list(epoch_batches(split, 500, seed=s, epoch=e, device=torch.device("cpu")))
        for s, e in ((0, 1), (0, 1), (0, 2), (1, 1))
    ]
    first, same, other_epoch, other_seed = (torch.cat([b.x for b in p]) for p in passes)
    assert torch.equal(first, same)
    assert not torch.equal(first, other_epoch)
    assert not torch.equal(first, other_seed)
    assert set(first.unique().tolist()) == {0.0, 1.0}


def test_processes_share_every_batch_without_loss():
    split = vk.load("digits").train
    whole = list(epoch_batches(split, 64, seed=3, epoch=5, device=torch.device("cpu")))
    parts = [
        list(epoch_batches(split, 64, seed=3, epoch=5, device=torch.device("cpu"), share=(r, 3))) for r in range(3)
    ]
    for at, batch in enumerate(whole):
        both = torch.cat([p[at].x for p in parts]).flatten(1)
        assert sorted(both.tolist()) == sorted(batch.x.flatten(1).tolist())


def test_schema_survives_json():
    for data in (vk.load("digits"), vk.load(np.random.default_rng(0).normal(size=(30, 3)))):
        assert vk.Schema.from_json(data.schema.to_json()) == data.schema
    with pytest.raises(DataError, match="newer"):
        vk.Schema.from_json({"kind": "image", "shape": [1, 2, 2], "colour": 1})


def test_rows_keep_their_order_and_take_the_models_form(tmp_path, rng):
    schema = vk.load("digits").schema
    x = rng.integers(0, 9, (20, 8, 8))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "flat.npy", x.reshape(20, 64))
    for name in ("x.npy", "flat.npy"):
        np.testing.assert_array_equal(load_rows(tmp_path / name, schema).values[:, 0].numpy(), x)
    np.save(tmp_path / "wide.npy", np.zeros((20, 8, 9)))
    with pytest.raises(DataError, match="shape"):
        load_rows(tmp_path / "wide.npy", schema)
    np.save(tmp_path / "bright.npy", np.full((20, 8, 8), 99))
    with pytest.raises(DataError, match="17 levels"):
        load_rows(tmp_path / "bright.npy", schema)


def test_mnist_without_files_or_network_says_what_to_do(tmp_path, monkeypatch):
    import pooch

    def offline(*_args, **_keywords):
        raise OSError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz.*--data-dir"):
        vk.load("mnist", data_dir=tmp_path)


def test_mnist_from_a_folder(tmp_path, rng):
    counts = {"train": 10_020, "t10k": 30}
    for part, n in counts.items():
        images, labels = rng.integers(0, 256, (n, 2, 2)), np.arange(n) % 10
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images, 8, ">u1"), 1))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels, 8, ">u1"))
    data = vk.load("mnist", data_dir=tmp_path)
    assert [len(s) for s in data.splits().values()] == [20, 10_000, 30]
    assert load_rows("mnist", data.schema, data_dir=tmp_path).values.shape == (30, 1, 2, 2)
    assert len(load_rows("mnist", data.schema, part="all", data_dir=tmp_path)) == 10_050
