"""The report, from small run folders whose files are written here: nothing is trained."""

import base64
import hashlib
import html
import io
import json
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from vaekit.errors import RunError
from vaekit.files import write_json
from vaekit.report import charts, galleries, write_report
from vaekit.report.album import Album
from vaekit.report.charts import focus
from vaekit.report.codes import codes
from vaekit.report.colours import rainbow
from vaekit.report.contents import read_contents
from vaekit.report.curves import kl
from vaekit.report.galleries import plane, reconstructions, samples
from vaekit.report.page import render
from vaekit.report.pictures import Look, grid, look_of, to_png
from vaekit.report.projection import principal_components, turned
from vaekit.report.table import gap_sentence
from vaekit.report.verdict import verdict
from vaekit.runs import append_record, write_arrays, write_config


def figure(value, error=0.5, unit="nats", n=300, estimator="by hand", samples=None):
    return {"value": value, "standard_error": error, "n": n, "unit": unit, "estimator": estimator, "samples": samples}


def pictures(shape=(1, 4, 4), latent_dim=3, classes=3, rng=None):
    """A gallery as `evaluation.gallery` makes it, of noise."""
    rng = rng or np.random.default_rng(0)

    def draw(*batch):
        return rng.random((*batch, *shape), dtype=np.float32)

    labels = np.arange(40) % classes
    arrays = {
        "originals": draw(24),
        "reconstructions": draw(24),
        "errors": np.sort(rng.random(24)).astype(np.float32),
        "samples": draw(64),
        "neighbours": draw(64),
        "sample_distances": 0.2 + rng.random(64).astype(np.float32),
        "test_distances": 0.1 + rng.random(64).astype(np.float32),
        "codes": rng.normal(size=(40, latent_dim)).astype(np.float32) + labels[:, None],
        "code_labels": labels,
        "active": np.ones(latent_dim, bool),
        "traversals": draw(min(latent_dim, 10), 9),
        "traversal_dims": np.arange(min(latent_dim, 10)),
        "traversal_values": np.linspace(-2.5, 2.5, 9),
        "interpolations": draw(6, 9),
    }
    if latent_dim == 2:
        arrays |= {"plane": draw(20, 20), "plane_values": np.stack([np.linspace(-2, 2, 20)] * 2)}
    return arrays


def figures_of(latent_dim=3, active=None):
    return {
        "elbo": figure(-90.0, samples=10),
        "kl": figure(6.0, 0.1),
        "distortion": figure(84.0, samples=10),
        "log_likelihood": figure(-88.0, estimator="importance sampling from q(z|x)", samples=1000),
        "bits_per_dim": figure(1.9, 0.01, "bits/dim", samples=1000),
        "reconstruction_error": figure(0.02, 0.001, "squared error"),
        "active_units": figure(float(latent_dim if active is None else active), 0.0, "dimensions"),
        "linear_probe": figure(0.9, 0.02, "accuracy"),
        "linear_probe_raw": figure(0.95, 0.01, "accuracy"),
        "kl_per_dim": [figure(2.0 / (d + 1), 0.05) for d in range(latent_dim)],
    }


def run(folder, *, arrays=None, evaluation=None, epochs=6, gap=0.2, config=None, status=None, shape=(1, 4, 4), schema=None,
        likelihood=True, latent_dim=3, classes=("a", "b", "c")):  # fmt: skip
    """Write a run folder; `arrays`, `evaluation`, `status` {} leave their files out."""
    folder.mkdir(parents=True, exist_ok=True)
    model = "vae" if likelihood else "autoencoder"
    write_config(
        folder,
        {"source": "noise", "model": model, "latent_dim": latent_dim, "epochs": epochs, "beta": 1.0} | (config or {}),
    )
    write_json(folder / "environment.json", {"vaekit": "0.1.0", "python": "3.11", "gpu": None})
    described = {"kind": "image" if len(shape) == 3 else "vector", "shape": list(shape), "levels": None, "low": 0.0, "high": 1.0,
                 "shift": 0.0, "scale": 1.0, "classes": None if classes is None else list(classes)} | (schema or {})  # fmt: skip
    splits = {name: {"n": n, "sha256": "ab" * 32} for name, n in (("train", 1000), ("validation", 300), ("test", 300))}
    write_json(
        folder / "data.json", {"source": {"name": "noise", "binarize": "none"}, "schema": described, "splits": splits}
    )
    for epoch in range(1, epochs + 1):
        level = -100 + 10 * (1 - 0.5 ** (epoch - 1))
        append_record(folder, record_of(epoch, level, gap, likelihood))
    status = {"state": "finished", "seconds": 1.5, "best_epoch": epochs, "epochs": epochs} if status is None else status
    evaluation = figures_of(latent_dim) if evaluation is None else evaluation
    arrays = pictures(shape, latent_dim) if arrays is None else arrays
    for name, content in (("status", status), ("evaluation", evaluation)):
        if content:
            write_json(folder / f"{name}.json", content)
    if arrays:
        write_arrays(folder / "figures" / "gallery.npz", arrays)
    return folder


def record_of(epoch, level, gap, likelihood):
    record = {
        "epoch": epoch,
        "step": 10 * epoch,
        "train_loss": -level,
        "learning_rate": 0.001,
        "seconds": 0.2,
        "examples_per_second": 900,
    }
    for split, value in (("train", level), ("validation", level - gap)):
        record[f"{split}_distortion"] = -value - 5
        if likelihood:
            record |= {f"{split}_elbo": value, f"{split}_rate": 5.0}
    return record


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Charts of few pixels: they are drawn all the same, in a third of the time."""
    monkeypatch.setattr(charts, "DPI", 40)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a complete run with two latent dimensions."""
    folder = run(tmp_path_factory.mktemp("report") / "run", latent_dim=2)
    return write_report(folder)


class Reader(HTMLParser):
    """The tags of a page with their attributes, its ids, and the text of its headings."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text, self.headings = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


def rendered(folder):
    return Reader(render(read_contents(folder), Album()))


def said(folder):
    return " ".join(finding.text for finding in verdict(read_contents(folder))).replace("\N{NO-BREAK SPACE}", " ")


# the page ----------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else(page):
    text = page.read_text("utf-8")
    assert page.name == "report.html"
    reader = Reader(text)
    for _, attributes in reader.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            assert re.match(r"(data:image/|#|$)", attributes.get(name) or ""), attributes
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in reader.all("meta")[1]["content"]


def test_pictures_are_kept_as_files_beside_the_page(page):
    names = {path.name for path in (page.parent / "figures").glob("*.png")}
    assert names >= {"samples.png", "plane.png", "codes_2d.png", "kl_per_dimension.png", "training_elbo.png"}
    assert not list(page.parent.rglob(".*"))  # no temporary files are left


def test_every_picture_has_words_and_every_heading_its_place(page):
    reader = Reader(page.read_text("utf-8"))
    images = reader.all("img")
    assert len(images) >= 10
    assert all(len(image["alt"]) > 30 and re.search(r"\d", image["alt"]) for image in images)
    shown = [image["alt"] for image in images if image.get("class") != "on-dark"]
    assert len(set(shown)) == len(shown)
    assert reader.headings[:2] == [1, 2]
    assert all(b - a <= 1 for a, b in zip(reader.headings, reader.headings[1:], strict=False))
    assert len(reader.all("figure")) == len(reader.all("figcaption"))


def test_sections_come_in_order_and_the_contents_lead_to_them(page):
    reader = Reader(page.read_text("utf-8"))
    order = [
        "numbers",
        "training",
        "reconstructions",
        "samples",
        "codes",
        "kl",
        "traversals",
        "interpolations",
        "plane",
        "record",
    ]
    assert [i for i in reader.ids if i in order] == order
    assert [a["href"] for a in reader.all("a") if a["href"][1:] in order] == [f"#{key}" for key in order]


@pytest.mark.parametrize(
    ("missing", "section"),
    [("reconstructions", reconstructions), ("samples", samples), ("codes", codes), ("traversals", galleries.traversals),
     ("traversal_dims", galleries.traversals), ("interpolations", galleries.interpolations), ("plane", plane),
     ("plane_values", plane), ("originals", reconstructions)],
)  # fmt: skip
def test_a_section_without_its_arrays_is_left_out(tmp_path, missing, section):
    arrays = {k: v for k, v in pictures(latent_dim=2).items() if k != missing}
    assert section(read_contents(run(tmp_path / "run", latent_dim=2, arrays=arrays, epochs=1)), Album()) is None


def test_a_page_of_numbers_alone(tmp_path):
    assert [i for i in rendered(run(tmp_path / "run", arrays={})).ids if i not in ("main", "top", "verdict")] == [
        "numbers", "training", "kl", "record"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["neighbours", "sample_distances", "test_distances", "errors", "code_labels"])
def test_optional_arrays_may_be_absent(tmp_path, name):
    arrays = {k: v for k, v in pictures().items() if k != name}
    contents = read_contents(run(tmp_path / "run", arrays=arrays, epochs=0, evaluation={}))
    assert {"samples", "reconstructions", "codes"} <= set(Reader(render(contents, Album())).ids)


def test_hostile_names_stay_text(tmp_path):
    evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    folder = run(
        tmp_path / "run", classes=(evil, "b", "c"), config={"source": evil, "note": evil}, status={"state": evil}
    )
    (folder / "evaluation.json").write_text(json.dumps(figures_of() | {evil: figure(1.0, unit=evil, estimator=evil)}))
    text = render(read_contents(folder), Album())
    reader = Reader(text)
    assert html.escape("<img src=x onerror") in text
    assert "<img src=x" not in text
    assert len(reader.all("script")) == 2
    assert reader.text.count(evil) >= 4
    assert not any("onerror" in attributes for _, attributes in reader.tags)


def test_the_script_is_the_one_the_policy_allows(tmp_path):
    text = render(read_contents(run(tmp_path / "run")), Album())
    script = re.search(r"<script>(.*?)</script>", text, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(text)


def test_a_report_can_be_written_again_and_does_not_change(tmp_path):
    folder = run(tmp_path / "run", arrays={}, epochs=2)
    assert write_report(folder).read_bytes() == write_report(str(folder)).read_bytes()


def test_no_run_folder(tmp_path):
    with pytest.raises(RunError, match="no such run folder"):
        write_report(tmp_path / "absent")
    with pytest.raises(RunError, match="holds no files of a run"):
        write_report(tmp_path)


# runs of all kinds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 1), (2, 5, 3), (7,), (1,), (500,), (1, 30, 100)])
def test_examples_of_any_shape(tmp_path, shape):
    arrays = pictures(shape, 2)
    arrays["plane"], arrays["plane_values"] = arrays["plane"][:5, :5], arrays["plane_values"][:, :5]
    folder = run(tmp_path / "run", shape=shape, arrays=arrays, latent_dim=2, epochs=1)
    reader = Reader(write_report(folder).read_text("utf-8"))
    assert {"reconstructions", "samples", "plane"} <= set(reader.ids)
    assert ("images" in reader.text) == (len(shape) == 3)
    assert (folder / "report.html").stat().st_size < 6e6


def test_many_classes_fold_their_legend(tmp_path):
    arrays = pictures(classes=26)
    folder = run(tmp_path / "run", arrays=arrays, classes=[f"letter {i}" for i in range(26)])
    reader = rendered(folder)
    assert len(reader.all("details")) == 2
    assert "letter 25" in reader.text


def test_labels_without_names_and_no_labels_at_all(tmp_path):
    assert "Classes and their colours" in str(rendered(run(tmp_path / "numbers", classes=None)).tags)
    arrays = {k: v for k, v in pictures().items() if k != "code_labels"}
    assert "Classes and their colours" not in str(rendered(run(tmp_path / "none", classes=None, arrays=arrays)).tags)


def test_one_latent_dimension_is_a_histogram(tmp_path):
    reader = rendered(run(tmp_path / "run", latent_dim=1))
    assert any(image["alt"].startswith("Histogram of 40 codes") for image in reader.all("img"))
    assert not reader.all("canvas")


def test_the_turning_view_has_all_points_and_a_picture_for_paper(tmp_path):
    text = render(read_contents(run(tmp_path / "run", latent_dim=5)), Album())
    cloud = json.loads(re.search(r'class="cloud">(.*?)</script>', text, re.S).group(1))
    points = np.array(cloud["points"])
    assert points.shape == (40, 3)
    assert np.abs(points).max() <= 1300
    assert len(cloud["labels"]) == 40
    assert len(cloud["colours"]) == 3
    assert cloud["axes"] == ["PC 1", "PC 2", "PC 3"]
    assert '<div class="standing"><img class="on-light" src="data:image/png' in text


def test_figures_that_are_null_show_as_dashes(tmp_path):
    evaluation = {key: figure(None, None) for key in figures_of() if key != "kl_per_dim"}
    evaluation["kl_per_dim"] = [figure(None, None), figure(1.0), figure(0.5, None)]
    folder = run(tmp_path / "run", evaluation=evaluation)
    reader = rendered(folder)
    assert reader.text.count("–") >= len(evaluation) - 1
    assert "kl" in reader.ids
    assert "not known" in said(folder)
    assert not re.search(r"\bnan\b|None(?! is closer)|\binf\b", reader.text)


def test_records_that_are_null_leave_gaps(tmp_path):
    folder = run(tmp_path / "run", epochs=3)
    append_record(folder, record_of(4, float("nan"), 0.0, True))
    reader = rendered(folder)
    assert "training" in reader.ids
    assert "at epoch 3" in " ".join(image["alt"] for image in reader.all("img"))


def test_arrays_with_nan_are_drawn(tmp_path):
    arrays = pictures(latent_dim=4)
    for key in ("reconstructions", "codes", "samples", "traversals"):
        arrays[key][0] = np.nan
    write_report(run(tmp_path / "run", latent_dim=4, arrays=arrays))


def test_every_file_but_one_may_be_absent(tmp_path):
    folder = tmp_path / "run"
    append_record(folder, record_of(1, -90.0, 1.0, True))
    text = Reader(write_report(folder).read_text("utf-8")).text
    assert "evaluation.json is missing" in text
    assert "no config.yaml" in text


def test_an_interrupted_run_says_so(tmp_path):
    folder = run(
        tmp_path / "run", arrays={}, evaluation={}, epochs=4, config={"epochs": 80}, status={"state": "interrupted"}
    )
    text = said(folder)
    assert "interrupted after 4 of 80 epochs" in text
    assert "evaluation.json is missing" in text
    assert "validation ELBO was −91.45 nats" in text
    assert rendered(folder).ids == ["main", "top", "verdict", "training", "record"]


def test_the_command_quotes_its_path(tmp_path):
    folder = run(tmp_path / "a folder; rm", arrays={}, epochs=1)
    assert f"vaekit train --config '{folder}/config.yaml'" in rendered(folder).text


def test_a_folder_that_will_be_moved_is_named_by_its_place_to_be(tmp_path):
    folder = run(tmp_path / "run.unfinished", arrays={}, epochs=1)
    text = write_report(folder, final="runs/run").read_text("utf-8")
    assert "vaekit train --config runs/run/config.yaml" in text
    assert "unfinished" not in text


def test_a_source_that_is_a_path_is_called_by_its_name(tmp_path):
    reader = rendered(run(tmp_path / "run", arrays={}, epochs=1, config={"source": "/home/someone/faces/"}))
    assert "faces vae" in reader.text
    assert "1,000 training images of 4 × 4 pixels" in reader.text
    assert reader.text.count("/home/someone/faces/") == 2  # among the data and among the options


def test_schedules_are_drawn_where_they_vary(tmp_path):
    folder = run(tmp_path / "run", arrays={}, epochs=0, latent_dim=3)
    for epoch in range(1, 5):
        append_record(folder, record_of(epoch, -90.0, 1.0, True) | {"beta": epoch / 4, "odd/../key": float(epoch)})
    album = Album()
    render(read_contents(folder), album)
    assert {"training_beta", "training_odd____key"} <= set(album.files)
    assert "training_learning_rate" not in album.files


# pictures ----------------------------------------------------------------------------------------------------------


def opened(album, name):
    return np.asarray(Image.open(io.BytesIO(album.files[name])).convert("RGBA"))


def test_the_first_row_of_the_plane_is_the_top(tmp_path):
    arrays = pictures((1, 1, 1), 2)
    arrays["plane"] = np.zeros((20, 20, 1, 1, 1), np.float32)
    arrays["plane"][0, 19] = 1.0  # largest z1, largest z0: the upper right corner
    arrays["plane_values"] = np.stack([np.linspace(-1, 1, 20), np.linspace(-3, 3, 20)])
    album = Album()
    section = plane(read_contents(run(tmp_path / "run", shape=(1, 1, 1), arrays=arrays, latent_dim=2)), album)
    image = opened(album, "plane")
    cell = image.shape[0] // 20
    assert image[cell // 2, -cell // 2, 0] == 255
    assert image[:, :, 0].astype(bool).mean() < 1 / 300
    assert section["sheet"].left[0].text == "3"
    assert section["sheet"].under[0] == "−1"


def test_best_median_and_worst_stand_in_that_order_over_their_errors(tmp_path):
    arrays = pictures((1, 1, 1))
    arrays["originals"] = np.linspace(0, 1, 24, dtype=np.float32).reshape(24, 1, 1, 1)
    arrays["reconstructions"] = np.zeros_like(arrays["originals"])
    arrays["errors"] = np.arange(1, 25, dtype=np.float32)
    album = Album()
    section = reconstructions(read_contents(run(tmp_path / "run", shape=(1, 1, 1), arrays=arrays)), album)
    assert [it.title for it in section["sheets"]] == ["Best", "Median", "Worst"]
    assert [it.under[0] for it in section["sheets"]] == ["1.0", "9.0", "17"]
    image = opened(album, "reconstructions_worst")
    height, width = image.shape[:2]
    assert image[height // 4, width // 16, 0] == round(255 * 16 / 23)  # the first of the worst: row 16, above
    assert image[3 * height // 4, width // 16, 0] == 0  # its reconstruction below


def test_a_sample_stands_left_of_its_neighbour(tmp_path):
    arrays = pictures((1, 1, 1))
    arrays["samples"], arrays["neighbours"] = np.ones((64, 1, 1, 1)), np.zeros((64, 1, 1, 1))
    album = Album()
    section = samples(read_contents(run(tmp_path / "run", shape=(1, 1, 1), arrays=arrays)), album)
    image = opened(album, "samples")
    height, width = (side // 8 for side in image.shape[:2])
    assert image[height // 2, width // 4, 0] == 255
    assert tuple(image[height // 2, 3 * width // 4, [0, 3]]) == (0, 255)
    assert section["n"] == 64


@pytest.mark.parametrize(
    ("sample", "test", "expected"),
    [(0.5, 0.5, "no sign of memorisation"), (0.01, 0.5, "look for copies"), (0.4, 0.5, "64 of 64 are closer")],
)
def test_distances_speak_of_memorisation(tmp_path, sample, test, expected):
    arrays = pictures() | {"sample_distances": np.full(64, sample), "test_distances": np.full(64, test)}
    section = samples(read_contents(run(tmp_path / "run", arrays=arrays)), Album())
    assert expected in section["distances"]["told"]


@pytest.mark.parametrize(("share", "expected"), [(0.52, "no sign of memorisation"), (0.9, "look for copies")])
def test_the_measured_share_goes_before_distances(tmp_path, share, expected):
    arrays = pictures() | {"sample_distances": np.full(64, 0.4), "test_distances": np.full(64, 0.5)}
    evaluation = figures_of() | {"nearer_to_training": figure(share, 0.02, "share")}
    section = samples(read_contents(run(tmp_path / "run", arrays=arrays, evaluation=evaluation)), Album())
    assert expected in section["distances"]["told"]


def test_the_page_says_what_the_doctor_said(tmp_path):
    folder = run(tmp_path / "run")
    finding = {"name": "likelihood_scale", "numbers": {}, "what": "log p is off", "cause": "x", "fix": "learn sigma",
               "severity": "warning"}  # fmt: skip
    told = finding | {"name": "overfitting", "what": "said elsewhere"}
    (folder / "findings.json").write_text(json.dumps({"findings": [finding, told]}))
    last = verdict(read_contents(folder))[-1]
    assert (last.text, last.tone) == ("Log p is off. Learn sigma.", "warn")


@pytest.mark.parametrize(
    ("elbo", "samples", "expected"),
    [
        (-60.0, 1000, "lies"),
        (-50.0, 1000, "alike to 0.01 nats"),
        (-49.9, 1000, "noise of the draws"),
        (-50.0, None, None),
    ],
)
def test_the_gap_is_what_the_draws_can_show(tmp_path, elbo, samples, expected):
    evaluation = figures_of() | {
        "elbo": figure(elbo, 0.5), "log_likelihood": figure(-50.0, 0.5) | {"samples": samples}
    }  # fmt: skip
    said = gap_sentence(read_contents(run(tmp_path / "run", evaluation=evaluation)))
    assert said is None if expected is None else expected in said


def test_colour_is_kept(tmp_path):
    look = Look((3, 2, 2), 0.0, 1.0, np.zeros(()), np.ones(()))
    red = np.zeros((1, 1, 3, 2, 2))
    red[:, :, 0] = 1
    image = np.asarray(grid(look.tiles(red, 1), 8))
    assert tuple(image[8, 8]) == (255, 0, 0, 255)
    assert tuple(image[0, 0]) == (0, 0, 0, 0)


def test_real_values_take_their_scale_from_the_data(tmp_path):
    arrays = pictures()
    arrays["originals"] = np.linspace(-5, 5, 24 * 16, dtype=np.float32).reshape(24, 1, 4, 4)
    arrays["reconstructions"] = arrays["originals"] * 3
    look = look_of(read_contents(run(tmp_path / "run", arrays=arrays, schema={"low": -5.0, "high": 5.0})))
    assert look.low == pytest.approx(-5, abs=0.1)
    assert look.high == pytest.approx(5, abs=0.1)
    assert int(look.tiles(np.zeros((1, 1, 4, 4)))[0, 0, 0, 0]) == pytest.approx(127, abs=2)


def test_bars_of_a_vector_go_up_and_down():
    look = Look((2,), -3.0, 3.0, np.array([10.0, 0.0]), np.array([2.0, 1.0]))
    tile = look.tiles(np.array([16.0, -1.5]))  # three scales above, one and a half below
    h, w, _ = tile.shape
    left, right = tile[:, w // 4], tile[:, 3 * w // 4]
    assert left[0, 3] == right[h // 2 + h // 8, 3] == 255
    assert max(left[h - 1, 3], right[0, 3], right[h - 1, 3]) < 50


def test_pngs_are_gray_where_they_can_be():
    look = Look((1, 2, 2), 0.0, 1.0, np.zeros(()), np.ones(()))
    image = grid(look.tiles(np.random.default_rng(0).random((2, 2, 1, 2, 2))), 0)
    png = Image.open(io.BytesIO(to_png(image)))
    assert png.mode == "L"
    assert (np.asarray(png) == np.asarray(image)[..., 0]).all()


# codes -------------------------------------------------------------------------------------------------------------


def test_explained_variance_is_that_of_the_closed_form():
    # uncorrelated columns of variance 9, 4, 1 and 1 exactly, turned: the first two components explain 13 / 15
    signs = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1], [-1, 1, 1, -1], [-1, -1, 1, 1], [-1, 1, -1, 1],
                      [-1, -1, -1, -1]])  # fmt: skip
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))
    x = signs * np.array([3.0, 2.0, 1.0, 1.0]) @ rotation + 7
    points, shares = principal_components(x, 2)
    np.testing.assert_allclose(shares, [9 / 15, 4 / 15], atol=1e-12)
    np.testing.assert_allclose(points.var(0), [9, 4], atol=1e-12)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-12)


def test_codes_that_do_not_vary_explain_nothing():
    points, shares = principal_components(np.ones((5, 4)), 3)
    assert points.shape == (5, 3)
    assert not shares.any()
    assert principal_components(np.ones((1, 2)), 3)[0].shape == (1, 3)


def test_the_share_of_variance_is_on_the_page(tmp_path):
    arrays = pictures(latent_dim=4)
    arrays["codes"][:, 2:] = 0
    section = codes(read_contents(run(tmp_path / "run", latent_dim=4, arrays=arrays)), Album())
    assert section["flat"]["share"] == "100.0\N{NO-BREAK SPACE}%"
    assert "100.0" in section["flat"]["picture"].alt


def test_the_kl_chart_marks_the_dimensions_the_run_calls_active(tmp_path):
    arrays = pictures() | {"active": np.array([True, False, True])}
    section = kl(read_contents(run(tmp_path / "run", arrays=arrays)), Album())
    assert (section["marked"], section["inactive"]) == (True, 1)
    assert "2 active dimensions with" in section["picture"].alt


def test_a_turn_keeps_lengths_and_leaves_up_upright():
    turn = turned(np.eye(3), 0.7, 0.38)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(turned(np.array([[0.0, 0.0, 1.0]]), 1.1, 0.0), [[0, 1, 0]], atol=1e-12)


def test_colours_differ():
    assert len(set(rainbow(40))) == 40
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in rainbow(3) + rainbow(1))


def test_the_first_epochs_do_not_press_the_others_flat():
    values = np.array([-1000.0, *np.linspace(-90, -80, 19)])
    assert focus(values, 20) == (pytest.approx(-90, abs=1), -80)
    assert focus(np.linspace(0, 1, 20), 20) == (0, 1)
    assert focus(np.array([-3.0]), 1) == (-3, -3)


# verdicts ----------------------------------------------------------------------------------------------------------


def test_verdict_of_a_healthy_run(tmp_path):
    text = said(run(tmp_path / "run"))
    assert text.startswith(
        "log p(x) = −88.00 ± 0.50 nats per example (importance sampling, K = 1,000, 300 test examples), "
        "or 1.900 ± 0.010 bits per dimension."
    )
    assert "All 3 latent dimensions are active." in text
    assert "differ by 0.20 nats, within three times the sampling noise of 0.57 nats: no sign of overfitting" in text
    assert "β" not in text


def test_verdict_of_an_autoencoder(tmp_path):
    evaluation = {k: v for k, v in figures_of().items() if k in ("distortion", "reconstruction_error", "active_units")}
    arrays = {k: v for k, v in pictures().items() if not k.startswith("sample") and k != "neighbours"}
    folder = run(tmp_path / "run", evaluation=evaluation, arrays=arrays, likelihood=False, config={"beta": 4.0})
    text = said(folder)
    assert text.startswith("An autoencoder has no likelihood")
    assert "0.0200 ± 0.0010 (300 test examples)" in text
    assert "Training and validation distortion differ by 0.20 nats" in text
    assert "β" not in text
    assert {"samples", "kl"}.isdisjoint(rendered(folder).ids)


def test_verdict_of_a_collapsed_posterior(tmp_path):
    evaluation = figures_of(active=0) | {"kl": figure(0.01, 0.001)}
    assert "the posterior has collapsed to the prior" in said(run(tmp_path / "run", evaluation=evaluation))
    spent = said(run(tmp_path / "spent", evaluation=figures_of(active=0)))  # as free bits spend it
    assert "the posterior's mean hardly varies with the example, though its KL is 6.0 nats" in spent
    assert "collapsed to the prior" not in spent


def test_verdict_of_a_code_that_says_next_to_nothing(tmp_path):
    evaluation = figures_of() | {"kl": figure(0.125, 0.01)}
    assert "All 3 latent dimensions are active, but the whole code carries only 0.12 nats" in said(
        run(tmp_path / "run", evaluation=evaluation)
    )


def test_verdict_counts_the_active_dimensions(tmp_path):
    assert "2 of 3 latent dimensions are active; the other hardly varies" in said(
        run(tmp_path / "a", evaluation=figures_of(active=2))
    )
    assert "1 of 3 latent dimensions are active; the other 2 hardly vary" in said(
        run(tmp_path / "b", evaluation=figures_of(active=1))
    )


def test_verdict_of_a_beta_vae(tmp_path):
    assert "Trained with β = 4: the loss was not minus the ELBO. All figures here are at β = 1." in said(
        run(tmp_path / "run", config={"beta": 4.0})
    )


def test_verdict_names_other_losses(tmp_path):
    text = said(run(tmp_path / "run", config={"objective": "iwae", "free_bits": 0.25}))
    assert "Trained on the importance-weighted bound" in text
    assert "Trained with 0.25 free nats for each dimension" in text


def test_verdict_of_a_warm_up_that_is_longer_than_the_run(tmp_path):
    folder = run(tmp_path / "run")
    append_record(folder, record_of(7, -90.0, 0.2, True) | {"beta": 0.35})
    assert "The warm-up had not ended: the last epoch's β was 0.35 of 1" in said(folder)


def test_verdict_of_overfitting(tmp_path):
    slight, plain = said(run(tmp_path / "a", gap=2.0)), said(run(tmp_path / "b", gap=8.0))
    assert "differ by 2.00 nats, more than the sampling noise of 0.57 nats explains: it overfits slightly" in slight
    assert "differ by 8.00 nats" in plain
    assert "it overfits" in plain
    assert "slightly" not in plain


def test_verdict_names_the_epoch_whose_weights_are_kept(tmp_path):
    folder = run(tmp_path / "run", epochs=5, status={"state": "finished", "best_epoch": 5})
    append_record(folder, record_of(6, -95.0, 0.2, True))
    assert "the weights are those of epoch 5, the best on validation" in said(folder)
    write_json(folder / "status.json", {"state": "finished", "best_epoch": 6})
    assert "validation was best at epoch 5, 4.4 nats better than with the weights that are kept" in said(folder)


def test_verdict_of_a_failed_run(tmp_path):
    folder = run(
        tmp_path / "run", status={"state": "failed", "error": "distortion is nan at step 7."}, config={"epochs": 9}
    )
    assert "Training failed after 6 of 9 epochs: distortion is nan at step 7." in said(folder)


def test_no_warning_is_given(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(run(tmp_path / "run", epochs=1, latent_dim=4))


# ---- figures with a section of their own


def section_of(page, key):
    return re.search(rf'<section id="{key}">.*?</section>', page, re.S)


def test_samples_stand_beside_their_floors_and_leave_the_table_of_numbers(tmp_path):
    figures = figures_of() | {
        "frechet_distance": figure(34.4, 3.5, "squared distance"),
        "frechet_distance_floor": figure(16.4, 6.8, "squared distance"),
        "recall": figure(0.5, 0.02, "share"),
        "recall_floor": figure(0.9, 0.03, "share"),
        "mutual_information": figure(5.8, 0.02, estimator="at most log n = 5.881", samples=1),
        "marginal_kl": figure(4.2, 0.1),
        "mig": figure(0.3, 0.01, "score"),
        "amortisation_gap": figure(1.25, 0.1, samples=200),
    }
    contents = read_contents(a_run(tmp_path, figures))
    page = render(contents, Album())
    quality = html.unescape(section_of(page, "quality")[0])
    assert re.search(r"34\.4</td><td class=\"num\">3\.5</td><td class=\"num\">16\.4\s±\s6\.8", quality)
    # 18 apart with an error of 7.6 stands clear, and so does recall
    assert "off their floor: Frechet distance, Recall." in quality
    information = html.unescape(section_of(page, "information")[0])
    assert "Of about 10.0 nats, 5.80 are the first and 4.20 the second." in information
    assert "at most log n = 5.881" in information
    assert "MIG" in section_of(page, "factors")[0]
    assert "200 draws" in section_of(page, "tightness")[0]
    numbers = section_of(page, "numbers")[0]
    assert not [name for name in ("Frechet", "frechet", "Mutual", "MIG", "mig", "Amortisation") if name in numbers]


def test_figures_within_their_floor_and_figures_that_are_not_there(tmp_path):
    near = {"recall": figure(0.9, 0.02, "share"), "recall_floor": figure(0.93, 0.02, "share")}
    page = render(read_contents(a_run(tmp_path / "near", figures_of() | near)), Album())
    assert "None stands more than two standard errors off its floor." in page
    bare = render(read_contents(a_run(tmp_path / "bare", figures_of())), Album())
    assert not [key for key in ("quality", "information", "factors", "tightness") if section_of(bare, key)]
    broken = {"recall": {"value": None, "unit": "share"}, "mutual_information": figure(None, None)}
    assert section_of(render(read_contents(a_run(tmp_path / "broken", figures_of() | broken)), Album()), "quality")


def a_run(folder, figures):
    folder.mkdir(exist_ok=True)
    write_json(folder / "evaluation.json", figures)
    return folder
