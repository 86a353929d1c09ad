"""Data that a reader could misread without a word: each is read as it was meant, or refused in one line."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit as vk
from vaekit.cli.main import main
from vaekit.data.arrays import describe
from vaekit.data.conform import load_rows
from vaekit.data.text import text_rows
from vaekit.errors import DataError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def saved(path, array):
    np.save(path, array)
    return path


def pictures(folder, arrays, kind="png"):
    """One file for each array, named in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{i:03}.{kind}")
    return folder


# how bright is white


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_rows_are_binarised_with_the_white_of_training(tmp_path, rng, how):
    x = rng.integers(0, 17, (400, 8, 8), dtype=np.uint8)
    schema = vk.load(saved(tmp_path / "x.npy", x), binarize=how).schema
    assert schema.maximum == 16
    assert vk.Schema.from_json(schema.to_json()).maximum == 16
    rows = load_rows(tmp_path / "x.npy", schema)
    assert abs(float(rows.values.double().mean()) - x.mean() / 16) < 0.02
    with pytest.raises(DataError, match="nor gray levels up to 16"):
        load_rows(saved(tmp_path / "bright.npy", x * 2), schema)


def test_a_schema_of_an_older_run_has_white_at_255():
    old = vk.load("digits", binarize="static").schema.to_json()
    del old["maximum"]
    assert vk.Schema.from_json(old).maximum is None


def test_the_readers_white_comes_before_that_of_training(tmp_path, rng):
    schema = vk.load("digits", binarize="static").schema
    dark = pictures(tmp_path / "dark", rng.integers(0, 2, (20, 8, 8), dtype=np.uint8))
    assert float(load_rows(dark, schema).values.double().mean()) < 0.02, "1 of 255 is black, not white"
    with pytest.raises(DataError, match="gray levels from 0 to 255 are not the 17 levels"):
        load_rows(dark, vk.load("digits").schema)


@pytest.fixture
def unit(rng):
    """The schema of gray images of floats in [0, 1]."""
    return vk.load(rng.uniform(size=(30, 4, 5))).schema


@pytest.mark.parametrize("low", [0, 3])
def test_gray_levels_of_a_byte_are_divided_by_255_whatever_they_are(tmp_path, rng, unit, low):
    x = rng.integers(low, low + 2, (12, 4, 5), dtype=np.uint8)
    for source in (saved(tmp_path / "x.npy", x), pictures(tmp_path / "folder", x)):
        np.testing.assert_allclose(load_rows(source, unit).values[:, 0].numpy(), x / 255, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.int64, np.float64, bool])
def test_other_numbers_are_never_divided(tmp_path, rng, unit, kind):
    x = rng.integers(0, 2, (12, 4, 5)).astype(kind)
    np.testing.assert_array_equal(load_rows(saved(tmp_path / "x.npy", x), unit).values[:, 0].numpy(), x)


@pytest.mark.parametrize("values", [[-0.1, 0.5], [0.5, 1.2], [0.0, 200.5]])
def test_rows_beyond_the_unit_interval_are_scored_where_the_likelihood_does_not_end_there(tmp_path, rng, values):
    data = vk.load(rng.random((200, 2)))
    assert data.schema.support == "unit"
    rows = load_rows(saved(tmp_path / "x.npy", np.array([values])), data.schema)
    np.testing.assert_allclose(rows.values.numpy(), [values], rtol=1e-6)
    inside, beyond = (
        vk.evaluation.log_likelihood(vk.models.vae(data.schema, latent_dim=2, hidden=(4,)), x, samples=50).value
        for x in (data.test, rows)
    )
    assert beyond < inside
    with pytest.raises(DataError, match="not between 0 and 1, where likelihood continuous-bernoulli lives"):
        vk.evaluation.log_likelihood(
            vk.models.vae(data.schema, latent_dim=2, hidden=(4,), likelihood="continuous-bernoulli"), rows
        )


@pytest.mark.parametrize("value", [1.5, -0.2])
def test_one_value_outside_the_unit_interval_in_any_row_makes_data_real(rng, value):
    x = rng.uniform(size=(40, 3))
    for row in range(40):
        y = x.copy()
        y[row, 1] = value
        data = vk.load(y)
        assert data.schema.support == "real", row
        np.testing.assert_allclose(data.schema.shift, data.train.values.double().mean(0), rtol=1e-6)


def test_the_span_of_all_rows_may_be_told():
    train = torch.rand(20, 3)
    assert describe(train, None, None).support == "unit"
    assert describe(train, None, None, (0.0, 2.0)).support == "real"


# what single precision holds


@pytest.mark.parametrize("value", [1.7e308, -1e30])
def test_values_beyond_single_precision_are_refused_by_name(tmp_path, rng, value):
    x = rng.normal(size=(30, 3))
    schema = vk.load(x).schema
    x[4, 1] = value
    saved(tmp_path / "far.npy", x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for read in (vk.load, lambda source: load_rows(source, schema)):
            with pytest.raises(DataError, match=r"far\.npy: values from .* single precision"):
                read(tmp_path / "far.npy")
        with pytest.raises(DataError, match=r"array: conditions: values from .* single precision"):
            vk.load(rng.normal(size=(30, 3)), conditions=x)


def beside(column):
    """A table of two columns, the second ordinary."""
    return np.stack([column, np.random.default_rng(1).normal(size=len(column))], 1)


ORDINARY = np.random.default_rng(0).normal(size=300)
LOST = {
    "timestamps": 1.7e9 + 100 * np.abs(ORDINARY),
    "whole timestamps": (1_700_000_000 + 30 * np.abs(ORDINARY)).astype(np.int64),
    "far from 0": 1e9 + ORDINARY,
    "tiny": 1e-50 * ORDINARY,
    "tiny even in its squares": 1e-200 * ORDINARY,
    "too small to square": 1e-25 * ORDINARY,
    "two values": 1 + 1e-9 * (ORDINARY > 0),
}


@pytest.mark.parametrize("name", LOST)
def test_a_column_that_single_precision_would_flatten_is_refused(name):
    with pytest.raises(DataError, match=r"array: column 0 \(values from .*single precision.*(subtract|rescale)"):
        vk.load(beside(LOST[name]))
    with pytest.raises(DataError, match="array: conditions: column 0"):
        vk.load(beside(ORDINARY), conditions=beside(LOST[name]))


def test_images_are_looked_at_as_a_whole(rng):
    x = rng.normal(size=(20, 4, 4))
    with pytest.raises(DataError, match="array: images"):
        vk.load(1e9 + x)
    x[:, 0, 0] = 1e4 + 1e-6 * x[:, 0, 0]
    assert vk.load(x).schema.support == "real", "a border of one brightness is no column"


KEPT = {
    "years": 2000 + 10 * np.round(ORDINARY),
    "days in seconds": 1.7e9 + 1e7 * ORDINARY,
    "a mean of 10,000 deviations": 1e4 + ORDINARY,
    "constant": np.full(300, 0.1),
    "constant and large": np.full(300, 123_456_789.123),
    "constant and tiny": np.full(300, 1e-50),
    "constant but for its own rounding": np.array([0.3, 0.1 + 0.2] * 150),
    "zero": np.zeros(300),
    "one outlier": np.r_[np.zeros(299), 1e6],
    "large": 1e14 * ORDINARY,
    "small": 1e-12 * ORDINARY,
    "single already": (1e9 + 100 * ORDINARY).astype(np.float32),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_column_with_digits_enough_is_read(name):
    column = KEPT[name]
    data = vk.load(beside(column).astype(column.dtype))
    assert sorted(torch.cat([s.values[:, 0] for s in data.splits().values()]).tolist()) == sorted(
        column.astype(np.float32).tolist()
    )


def test_probabilities_may_be_as_small_as_single_precision_holds():
    x = np.random.default_rng(0).uniform(size=(40, 2)).astype(np.float32) * np.array([1, 1e-25], np.float32)
    assert vk.load(x).schema.support == "unit"


# which axis is what


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_narrow_pictures_keep_their_axes(tmp_path, rng, width, channels):
    x = rng.integers(0, 256, (12, 20, width, channels), dtype=np.uint8)
    pictures(tmp_path, x if channels == 3 else x[..., 0])
    data = vk.load(tmp_path)
    assert data.schema.shape == (channels, 20, width)
    np.testing.assert_array_equal(load_rows(tmp_path, data.schema).values.numpy(), x.transpose(0, 3, 1, 2))


def test_built_in_sets_may_be_narrow():
    assert vk.load("shapes", image_size=(8, 3)).schema.shape == (1, 8, 3)


def test_what_a_model_of_narrow_pictures_writes_is_read_back(tmp_path, rng):
    x = rng.integers(0, 2, (12, 1, 20, 3))
    schema = vk.load(x[:, 0]).schema
    np.testing.assert_array_equal(load_rows(saved(tmp_path / "x.npy", x), schema).values.numpy(), x)


# pictures of more than 8 bits


@pytest.mark.parametrize(("stored", "read"), [(0, 0), (250, 1), (255, 1), (256, 1), (4000, 16), (65535, 255)])
def test_16_bits_are_read_by_their_depth(tmp_path, stored, read):
    pictures(tmp_path, [np.full((4, 4), stored, np.uint16)] * 10)
    assert vk.load(tmp_path).train.values.unique().tolist() == [read]


def test_32_bits_are_16_or_refused(tmp_path):
    pictures(tmp_path, [np.full((4, 4), 4000, np.int32)] * 10, "tiff")
    assert vk.load(tmp_path).train.values.unique().tolist() == [16]
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "deep.tiff")
    with pytest.raises(DataError, match=r"deep\.tiff: .*65535"):
        vk.load(tmp_path)


@pytest.mark.parametrize(("values", "read"), [((0, 0.2, 1), (0, 51, 255)), ((0, 0.2, 200), (0, 0, 200))])
def test_floats_are_read_by_the_range_of_the_whole_folder(tmp_path, values, read):
    pictures(tmp_path, [np.full((4, 4), v, np.float32) for v in values * 4], "tiff")
    found = torch.cat([s.values for s in vk.load(tmp_path).splits().values()])
    assert tuple(found.unique().tolist()) == tuple(sorted(set(read)))


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "not finite"), (np.inf, "not finite"), (-1, "0 to 1"), (300, "0 to 255")]
)
def test_floats_of_another_range_are_refused_by_name(tmp_path, value, said):
    pictures(tmp_path, [np.full((4, 4), 0.5, np.float32)] * 10, "tiff")
    Image.fromarray(np.array([[0.5, value]] * 4, np.float32)).save(tmp_path / "odd.tiff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=rf"odd\.tiff: .*{said}"):
            vk.load(tmp_path)


# where pictures lie


def test_links_to_class_folders_are_followed(tmp_path, rng):
    x = rng.integers(0, 256, (12, 5, 5), dtype=np.uint8)
    elsewhere, data = pictures(tmp_path / "elsewhere", x), tmp_path / "data"
    pictures(data / "here", x[:6])
    (data / "there").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "back").symlink_to(data, target_is_directory=True)
    (data / "here" / "around").symlink_to(data, target_is_directory=True)
    (data / "nowhere").symlink_to(tmp_path / "absent")
    found = vk.load(data)
    assert found.schema.classes == ("here", "there")
    assert sum(map(len, found.splits().values())) == 6 + 12, "links back lead nowhere new"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    quick = ["--epochs", "1", "--hidden", "8", "--evaluation-samples", "2"]
    assert main(["train", "digits", "--out", str(folder), *quick]) == 0
    return folder


def test_a_run_is_not_data_for_any_command(run, tmp_path, capsys):
    out = ["--out", str(tmp_path / "o.npz")]
    for command in (
        ["score", run, run],
        ["reconstruct", run, run, *out],
        ["encode", run, run, *out],
        ["evaluate", run, "--data", run],
    ):
        assert main([str(word) for word in command]) != 0
        assert "is a run folder" in capsys.readouterr().err
    with pytest.raises(DataError, match="is a run folder"):
        vk.load(run)
    with pytest.raises(DataError, match="is a run folder"):
        text_rows(run, vk.load(["a b", "b a"] * 10).schema)


def test_an_empty_source_is_not_the_folder_at_hand(run, capsys):
    assert main(["evaluate", str(run), "--data", ""]) != 0
    assert "source: is empty" in capsys.readouterr().err
    with pytest.raises(DataError, match="is empty"):
        vk.load("")


# parts and their labels


@pytest.mark.parametrize(("train", "test", "part"), [(5, 20, "validation"), (0, 20, "train"), (40, 0, "test")])
def test_an_empty_part_is_refused_when_it_is_read(tmp_path, rng, train, test, part):
    np.savez(tmp_path / "d.npz", x_train=rng.normal(size=(train, 3)), x_test=rng.normal(size=(test, 3)))
    schema = vk.load(rng.normal(size=(30, 3))).schema
    with pytest.raises(DataError, match=rf"d\.npz: the {part} part has no rows"):
        vk.load(tmp_path / "d.npz")
    with pytest.raises(DataError, match=rf"d\.npz: its {part} part has no rows"):
        load_rows(tmp_path / "d.npz", schema, part=part)
    assert len(load_rows(tmp_path / "d.npz", schema, part="all")) == train + test


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"y_train": 39, "y_test": 11}, "y_train has 39 labels for the 40 examples"),
        ({"y_train": 40, "y_test": 9}, "y_test has 9 labels for the 10 examples"),
        ({"y_train": 40}, "has y_train and no y_test"),
        ({"y_test": 10}, "has y_test and no y_train"),
    ],
)
def test_labels_belong_to_the_rows_of_their_part(tmp_path, rng, labels, said):
    x = {"x_train": rng.normal(size=(40, 3)), "x_test": rng.normal(size=(10, 3))}
    np.savez(tmp_path / "d.npz", **x, **{key: np.arange(n) % 2 for key, n in labels.items()})
    with pytest.raises(DataError, match=rf"d\.npz: {said}"):
        vk.load(tmp_path / "d.npz")


@pytest.mark.parametrize("bad", [np.zeros(()), np.zeros(10), np.zeros((10, 4)), np.array([["a"] * 3] * 10)])
def test_parts_are_rows_of_one_shape(tmp_path, rng, bad):
    np.savez(tmp_path / "d.npz", x_train=rng.normal(size=(40, 3)), x_test=bad)
    with pytest.raises(DataError, match=r"d\.npz: .*x_test"):
        vk.load(tmp_path / "d.npz")


# what is no array of numbers


def test_a_structured_array_is_refused_by_its_type(tmp_path):
    table = saved(tmp_path / "t.npy", np.zeros(300, [("a", "f8"), ("b", "i4")]))
    with pytest.raises(DataError, match="are not numbers"):
        vk.load(table)
    with pytest.raises(DataError, match="are not numbers"):
        load_rows(table, vk.load("digits").schema)


class Frame:
    """What NumPy can make an array of, as a data frame."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


def test_a_data_frame_is_an_array(rng):
    x = rng.normal(size=(30, 3))
    assert vk.load(Frame(x)).to_json() == vk.load(x).to_json()
    with pytest.raises(DataError, match="type object are not numbers"):
        vk.load(Frame(np.array([[1, "a"]] * 20, object)))
    with pytest.raises(DataError, match="source of type dict"):
        vk.load({"a": 1})


def test_masked_values_are_refused(rng):
    x, mask = rng.normal(size=(30, 3)), np.zeros((30, 3), bool)
    assert len(vk.load(np.ma.array(x, mask=mask)).train) == 21
    mask[7, 1] = True
    with pytest.raises(DataError, match="array: row 7 holds a masked value"):
        vk.load(np.ma.array(x, mask=mask))
    with pytest.raises(DataError, match="labels: row 7"):
        vk.load(x, np.ma.array(np.arange(30) % 2, mask=mask[:, 1]))
    with pytest.raises(DataError, match="conditions: row 7"):
        vk.load(x, conditions=np.ma.array(x, mask=mask))
