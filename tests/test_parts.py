"""Sources that are divided already: folders named after parts, and archives of training and test arrays."""

import numpy as np
import pytest
from PIL import Image

import vaekit as vk
from vaekit.cli.main import main
from vaekit.data.conform import load_rows
from vaekit.errors import DataError, UsageError

RNG = np.random.default_rng(0)


def fill(folder, number, shade=None):
    """So many small pictures, all of one shade where it is given."""
    folder.mkdir(parents=True)
    for i in range(number):
        pixels = RNG.integers(0, 256, (4, 4), dtype=np.uint8) if shade is None else np.full((4, 4), shade, np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")


def sizes(data):
    return {name: len(split) for name, split in data.splits().items()}


def test_folders_named_after_parts_are_parts_and_classes_lie_below_them(tmp_path):
    for part, number in (("Train", 12), ("val", 3), ("test", 5)):
        for name, shade in (("dark", 10), ("light", 200)):
            fill(tmp_path / part / name, number, shade)
    data = vk.load(tmp_path)
    assert sizes(data) == {"train": 24, "validation": 6, "test": 10}
    assert data.schema.classes == ("dark", "light")
    for split in data.splits().values():
        light = split.rows(slice(None)).mean((1, 2, 3)) > 0.5
        assert (light == (split.labels == 1)).all()
    assert len(load_rows(tmp_path, data.schema)) == 10, "other data that are divided: their test part"
    assert len(load_rows(tmp_path, data.schema, part="all")) == 40


def test_a_part_that_is_missing_is_drawn_from_the_training_images(tmp_path):
    fill(tmp_path / "train", 40, 10)
    fill(tmp_path / "test", 7, 200)
    data = vk.load(tmp_path)
    assert sizes(data) == {"train": 36, "validation": 4, "test": 7}
    assert data.schema.classes is None
    assert float(data.test.rows(slice(None)).min()) > 0.5 > float(data.train.rows(slice(None)).max())


def test_a_part_may_be_without_classes(tmp_path):
    fill(tmp_path / "train" / "a", 20)
    fill(tmp_path / "train" / "b", 20)
    fill(tmp_path / "test", 6)
    data = vk.load(tmp_path)
    assert data.schema.classes == ("a", "b")
    assert (data.test.labels == -1).all()


@pytest.mark.parametrize("names", [("train", "plane"), ("test", "val"), ("a", "b")])
def test_other_names_are_classes(tmp_path, names):
    for name in names:
        fill(tmp_path / name, 20)
    data = vk.load(tmp_path)
    assert data.schema.classes == tuple(sorted(names))
    assert sizes(data) == {"train": 28, "validation": 4, "test": 8}


def test_arrays_of_all_rows_beside_arrays_of_parts_are_refused(tmp_path):
    parts = {"x_train": RNG.normal(size=(40, 4)), "x_test": RNG.normal(size=(5, 4))}
    for key, said in (("labels", "give y_train and y_test"), ("conditions", "put all examples in x")):
        np.savez(tmp_path / "x.npz", **parts, **{key: np.zeros(45)})
        with pytest.raises(DataError, match=f"has x_train and {key}.*{said}"):
            vk.load(tmp_path / "x.npz")


def test_an_archive_may_be_named_in_capitals_and_holds_arrays_alone(tmp_path):
    np.save(tmp_path / "x.npy", RNG.normal(size=(20, 3)))
    (tmp_path / "x.npy").rename(tmp_path / "X.NPY")
    assert vk.load(tmp_path / "X.NPY").schema.shape == (3,)
    np.savez(tmp_path / "y.npz", x=RNG.normal(size=(20, 3)))
    import zipfile

    with zipfile.ZipFile(tmp_path / "y.npz", "a") as archive:
        archive.writestr("readme.txt", "words")
    with pytest.raises(DataError, match=r"readme\.txt is no array; save arrays alone"):
        vk.load(tmp_path / "y.npz")
    np.savez(tmp_path / "z.npz", x=RNG.normal(size=(20, 3)), conditions=np.arange(20.0), condition_names="dose")
    assert vk.load(tmp_path / "z.npz").schema.conditions == ("dose",)


def test_a_size_is_asked_of_what_has_none(tmp_path):
    np.save(tmp_path / "x.npy", RNG.integers(0, 9, (20, 6, 6)))
    for source in (tmp_path / "x.npy", "digits", RNG.normal(size=(20, 3))):
        with pytest.raises(UsageError, match="is for a folder of images and for shapes"):
            vk.load(source, image_size=4)
    assert vk.load("shapes", image_size=8).schema.shape == (1, 8, 8)


def test_advice_for_few_sentences_names_the_other_way_to_cut(tmp_path):
    (tmp_path / "a.txt").write_text("one two\n\nthree four\n", "utf-8")
    with pytest.raises(DataError, match="sentences line takes each line for one"):
        vk.load(tmp_path / "a.txt", sentences="split")
    with pytest.raises(DataError, match="sentences split cuts running text"):
        vk.load(tmp_path / "a.txt", sentences="line")


def test_a_place_that_may_not_be_entered_is_said_in_one_line(tmp_path, capsys, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "private"))

    monkeypatch.setattr("vaekit.cli.train.load", refused)
    assert main(["train", str(tmp_path / "private")]) == 6
    assert capsys.readouterr().err == (
        f"vaekit: error: {tmp_path / 'private'}: Permission denied; make it readable, or choose another place\n"
    )
