"""Sentences through the commands and the report."""

import csv
import functools
import json
import random

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.cli.main import main
from vaekit.cli.texts import text_line
from vaekit.data.text import text_rows
from vaekit.data.vocabulary import BOS, EOS, PAD, UNK
from vaekit.evaluation.likelihood import log_likelihood_per_example
from vaekit.evaluation.texts import distances, nearest, text_gallery, words_of

SMALL = [
    "--epochs",
    "1",
    "--evaluation-samples",
    "3",
    "--embedding-dim",
    "6",
    "--decoder-dim",
    "10",
    "--max-length",
    "9",
]
CODED = [*SMALL, "--encoder-dim", "10", "--latent-dim", "2"]
HOSTILE = "<script>alert(1)</script> &amp; שלום"


def call(capsys, *arguments):
    status = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("text")


@pytest.fixture(scope="module")
def book(folder):
    rng = random.Random(1)
    words = ["anna", "bob", "sees", "likes", "the", "a", "cat", HOSTILE.split()[0], *HOSTILE.split()[1:]]
    lines = [f"{'xy'[i % 2]}\t{' '.join(rng.choices(words, k=rng.randrange(1, 12)))}" for i in range(80)]
    path = folder / "book.txt"
    path.write_text("\n".join([*lines, f"x\t{HOSTILE}"]))
    return path


def trained(folder, book, name, *options):
    assert main(["train", str(book), "--model", name, "--out", str(folder / name), *options]) == 0
    return folder / name


@pytest.fixture(scope="module")
def vae(folder, book):
    return trained(folder, book, "text-vae", *CODED)


@pytest.fixture(scope="module")
def told(folder, book):
    return trained(folder / "told", book, "text-vae", *CODED, "--conditional", "true")


@pytest.fixture(scope="module")
def lm(folder, book):
    return trained(folder, book, "text-lm", *SMALL)


@pytest.fixture(scope="module")
def lines(folder):
    path = folder / "lines.txt"
    path.write_text("bob sees the cat\n\nanna\nzebra zebra likes a\n")
    return path


def test_a_run_on_text_has_every_file(vae):
    texts = json.loads((vae / "figures" / "texts.json").read_text())
    assert set(texts) == {"reconstructions", "samples", "interpolations", "lengths", "sample_distance", "test_distance"}
    assert len(texts["samples"]) == 24
    assert sum(texts["lengths"]["sampled"]) == 300
    schema = json.loads((vae / "model" / "model.json").read_text())["schema"]
    assert "anna" in schema["vocabulary"]["tokenizer"]["model"]["vocab"]
    stored = json.loads((vae / "data.json").read_text())["source"]
    assert sum(stored["truncated"].values()) > 0


def test_the_page_shows_sentences_and_no_pictures_of_them(vae, lm):
    page = (vae / "report.html").read_text()
    for section in ("rebuilt", "written", "lengths", "paths", "kl"):
        assert f'id="{section}"' in page
    for section in ("reconstructions", "samples", "traversals", "interpolations", "plane"):
        assert f'id="{section}"' not in page
    assert "<script>alert" not in page
    assert "training sentences of at most 9 tokens" in page
    page = (lm / "report.html").read_text()
    for section, there in (
        ("written", True),
        ("lengths", True),
        ("rebuilt", False),
        ("paths", False),
        ("codes", False),
    ):
        assert (f'id="{section}"' in page) == there


def test_an_autoencoder_shows_what_it_has(folder, book, capsys):
    run = trained(folder, book, "text-autoencoder", *CODED)
    texts = json.loads((run / "figures" / "texts.json").read_text())
    assert set(texts) == {"reconstructions", "interpolations"}
    assert call(capsys, "sample", run)[0] == 2
    status, _, err = call(capsys, "score", run, book)
    assert status == 2
    assert "no likelihood" in err


def test_the_plan_says_what_was_lost(book):
    data = vk.load(book, max_length=9, vocabulary_size=5)
    line = text_line(data)
    assert "81 sentences, one a line" in line
    assert "vocabulary 5 words" in line
    assert "2 labels" in line
    split = data.train
    longer = sum(len(text.split("\t")[1].split()) > 8 for text in book.read_text().split("\n"))
    assert sum(data.source["truncated"].values()) == longer
    assert f"{longer} cut to 9 tokens (train {data.source['truncated']['train']}, " in line
    share = int((split.values == UNK).sum()) / int((split.values > EOS).sum())
    assert f"unknown tokens: train {100 * share:.1f} %" in line
    assert "none longer than 100 tokens" in text_line(vk.load(book))


def test_config_repeats_a_run_on_text(vae, capsys, folder):
    status, _, err = call(capsys, "train", "--config", vae / "config.yaml", "--out", folder / "again")
    assert status == 0, err
    for name in ("evaluation.json", "figures/texts.json"):
        assert (vae / name).read_text() == (folder / "again" / name).read_text()


def test_evaluate_reads_the_same_sentences_again(vae, capsys):
    status, out, err = call(capsys, "evaluate", vae, "--json")
    assert status == 0, err
    assert json.loads(out) == json.loads((vae / "evaluation.json").read_text())


@torch.no_grad()
def test_score_of_a_language_model_is_the_product_of_its_steps(lm, lines, capsys, tmp_path):
    status, _, err = call(capsys, "score", lm, lines, "--out", tmp_path / "s.csv")
    assert status == 0
    assert "exact" in err
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sentence"] for row in rows] == lines.read_text().split("\n")[:4]
    model = vk.load_run(lm).model
    schema = model.origin.schema
    for row, tokens in zip(rows, schema.text.encode([row["sentence"] for row in rows]), strict=True):
        p = model.decode(torch.zeros(1, 0))
        state, last, total = p.network.start(p.code), torch.tensor([BOS]), 0.0
        for token in [*tokens, EOS]:
            features, state = p.network.step(last, state)
            total += float(p.softmax.log_probs(features).log_softmax(-1)[0, token])
            last = torch.tensor([token])
        assert float(row["log_likelihood"]) == pytest.approx(total, abs=1e-4)
        assert float(row["standard_error"]) == 0
        assert int(row["tokens"]) == len(tokens) + 1


def test_a_line_scores_the_same_in_any_company(vae, lines, capsys, tmp_path):
    assert call(capsys, "score", vae, lines, "--samples", 20, "--out", tmp_path / "a.npz")[0] == 0
    scores = np.load(tmp_path / "a.npz")["log_likelihood"]
    found = vk.load_run(vae).model
    rows = text_rows(lines, found.origin.schema).split
    np.testing.assert_allclose(scores, log_likelihood_per_example(found, rows, samples=20), atol=1e-6)
    texts = lines.read_text().split("\n")[:4]
    (tmp_path / "other.txt").write_text("\n".join([*reversed(texts), "anna " * 8]))
    assert call(capsys, "score", vae, tmp_path / "other.txt", "--samples", 20, "--out", tmp_path / "b.npy")[0] == 0
    np.testing.assert_allclose(np.load(tmp_path / "b.npy")["log_likelihood"][3::-1], scores, atol=1e-4)
    (tmp_path / "one.txt").write_text(texts[0])
    status, out, err = call(capsys, "score", vae, tmp_path / "one.txt", "--samples", 20)
    header, row = out.splitlines()
    assert status == 0
    assert header.split("\t")[:2] == ["row", "log_likelihood"]
    assert float(row.split("\t")[1]) == pytest.approx(scores[0], abs=1e-3)
    assert "nats a row" in err


def test_reconstruct_writes_line_i_for_line_i(vae, lines, capsys, tmp_path):
    status, out, err = call(capsys, "reconstruct", vae, lines)
    model = vk.load_run(vae).model
    rows = text_rows(lines, model.origin.schema).split
    assert (status, out.splitlines()) == (0, model.origin.schema.text.decode(model.reconstruct(rows.rows(slice(None)))))
    assert "33 % of the words" not in err
    assert call(capsys, "reconstruct", vae, lines, "--out", tmp_path / "r.npz")[0] == 0
    arrays = np.load(tmp_path / "r.npz")
    assert arrays["originals"].shape == arrays["reconstructions"].shape == (4, 9)
    assert call(capsys, "reconstruct", vae, lines, "--out", tmp_path / "r.txt", "--beam", 3)[0] == 0
    assert len((tmp_path / "r.txt").read_text().splitlines()) == 4


def test_encode_gives_a_code_a_line(vae, lines, capsys, tmp_path):
    assert call(capsys, "encode", vae, lines, "--out", tmp_path / "c.npz")[0] == 0
    model = vk.load_run(vae).model
    single = [
        text_rows([line], model.origin.schema).split.rows(slice(None)) for line in lines.read_text().split("\n")[:4]
    ]
    expected = torch.cat([model.encode(x) for x in single])
    np.testing.assert_allclose(np.load(tmp_path / "c.npz")["mean"], expected.detach().numpy(), atol=1e-5)


def test_interpolation_ends_at_the_reconstructions(vae, lines, book, capsys):
    model = vk.load_run(vae).model
    ends = ["bob sees the cat", "anna likes a"]
    rebuilt = model.reconstruct(text_rows(ends, model.origin.schema).split.rows(slice(None)))
    status, out, _ = call(capsys, "interpolate", vae, "--from", ends[0], "--to", ends[1], "--steps", 5)
    written = out.splitlines()
    assert status == 0
    assert len(written) == 5
    assert [written[0], written[-1]] == model.origin.schema.text.decode(rebuilt)
    status, out, _ = call(capsys, "interpolate", vae, lines, "--from", 0, "--to", 3, "--steps", 2)
    assert (status, out.splitlines()[0]) == (0, written[0])


def test_interpolation_of_rows_of_pictures(capsys, tmp_path):
    data = vk.load(np.random.default_rng(0).integers(0, 2, (30, 4)))
    model = vk.models.vae(data.schema, latent_dim=2, hidden=(5,))
    vk.save_run(tmp_path / "r", model)
    x = data.test.values.numpy()
    np.save(tmp_path / "x.npy", x)
    arguments = ["interpolate", tmp_path / "r", tmp_path / "x.npy", "--from", 1, "--to", 4, "--steps", 3]
    assert call(capsys, *arguments, "--out", tmp_path / "i.npy")[0] == 0
    z = model.eval().encode(torch.from_numpy(x[[1, 4]]).float())
    expected = model.decode(torch.stack([z[0], z.mean(0), z[1]])).mean
    np.testing.assert_allclose(np.load(tmp_path / "i.npy"), expected.detach().numpy(), atol=1e-6)
    assert call(capsys, "interpolate", tmp_path / "r", "--from", "1", "--to", "2", "--out", "q.npy")[0] == 2


def test_samples_are_lines_and_repeat_by_their_seed(vae, lm, capsys, tmp_path):
    first, again, other = (call(capsys, "sample", vae, "-n", 6, "--seed", s)[1] for s in (1, 1, 2))
    assert first == again != other
    assert len(first.splitlines()) == 6
    assert (
        call(capsys, "sample", lm, "-n", 2, "--temperature", 0.7, "--nucleus", 0.9, "--out", tmp_path / "s.txt")[0] == 0
    )
    assert len((tmp_path / "s.txt").read_text().splitlines()) == 2
    assert call(capsys, "sample", lm, "-n", 3, "--greedy", "--out", tmp_path / "s.npy")[0] == 0
    tokens = np.load(tmp_path / "s.npy")
    assert tokens.shape == (3, 9)
    assert (tokens == tokens[0]).all(), "without a code the best guess is one sentence"
    assert call(capsys, "sample", lm, "-n", 1, "--beam", 2)[0] == 0


def test_a_conditional_model_is_told_the_label(told, lines, capsys, tmp_path):
    out = call(capsys, "sample", told, "-n", 4)[1]
    assert [line.split("\t")[0] for line in out.splitlines()] == ["x", "y", "x", "y"]
    assert {
        line.split("\t")[0] for line in call(capsys, "sample", told, "-n", 4, "--condition", "y")[1].splitlines()
    } == {"y"}
    status, _, err = call(capsys, "reconstruct", told, lines)
    assert status == 3
    assert "give lines label<TAB>sentence" in err
    status, _, err = call(capsys, "interpolate", told, "--from", "bob", "--to", "anna")
    assert status == 2
    assert "say which with --condition" in err
    (tmp_path / "l.txt").write_text("x\tbob sees\ny\tanna\n")
    assert call(capsys, "reconstruct", told, tmp_path / "l.txt")[0] == 0
    assert call(capsys, "interpolate", told, "--from", "bob", "--to", "anna", "--condition", "x", "--steps", 2)[0] == 0
    assert "told" in (told / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["train", "BOOK"], 3, "model vae: is for"),
        (["train", "digits", "--model", "text-vae"], 3, "model text-vae: is for sentences"),
        (["train", "BOOK", "--model", "text-vae", "--vocabulary", "letters"], 2, "--vocabulary"),
        (["train", "BOOK", "--model", "text-vae", "--max-length", "1"], 2, "max_length 1"),
        (["train", "EMPTY", "--model", "text-vae"], 3, "holds no sentence"),
        (["train", "LATIN", "--model", "text-lm"], 3, "line 2 is not UTF-8"),
        (["score", "VAE", "digits"], 3, "no text, but the model was made for sentences"),
        (["score", "VAE", "LATIN"], 3, "line 2 is not UTF-8"),
        (["score", "VAE", "BOOK", "--out", "s.txt"], 2, ".csv, .npy, .npz"),
        (["score", "VAE", "BOOK", "--samples", "0"], 2, "at least 1 draw"),
        (["sample", "VAE", "--out", "s.png"], 2, "no picture"),
        (["sample", "VAE", "--greedy", "--beam", "3"], 2, "choose one"),
        (["sample", "VAE", "--temperature", "0"], 2, "temperature 0"),
        (["sample", "VAE", "--condition", "x"], 2, "takes no condition"),
        (["reconstruct", "LM", "BOOK"], 2, "no code"),
        (["encode", "LM", "BOOK", "--out", "c.npz"], 2, "no code"),
        (["interpolate", "LM", "--from", "a", "--to", "b"], 2, "no code"),
        (["interpolate", "VAE", "--from", "a", "--to", "b", "--steps", "1"], 2, "at least 2"),
        (["interpolate", "VAE", "BOOK", "--from", "0", "--to", "99"], 2, "from 0 to 80"),
        (["interpolate", "VAE", "BOOK", "--from", "a", "--to", "1"], 2, "number of a row"),
        (["sample", "VAE", "--noise", "--beam", "3"], 2, "--noise: draws words"),
        (["sample", "VAE", "--beam", "x"], 2, "--beam: expected int, got x"),
        (["evaluate", "VAE", "--split", "x"], 2, "--split: expected one of 'all', 'train', 'validation', 'test'; got x"),
        (["evaluate", "VAE", "--two-sample"], 2, "--two-sample: looks at images"),
        (["train", "BOOK", "--model", "text-lm", "--image-size", "8"], 2, "image_size 8: is for images"),
        (["train", "BOOK", "--model", "text-lm", "--beta", "0.5"], 2, "--beta 0.5: text-lm has no code"),
        (["train", "BOOK", "--model", "text-lm", "--warm-up", "1"], 2, "--warm-up 1: text-lm has no code"),
        (["train", "BOOK", "--model", "text-lm", "--free-bits-per", "code"], 2, "--free-bits-per code: text-lm"),
        (["train", "VAE", "--model", "text-lm"], 3, "is a run folder, not data"),
        (["rate-distortion", "VAE", "--out", "curve"], 3, "is a run folder, not data"),
        (["train", "digits", "--vocabulary", "bpe"], 2, "vocabulary bpe: is for text"),
        (["train", "BOOK", "--model", "text-lm", "--minimum-count", "9999"], 2, "minimum_count 9999: no word"),
    ],
)  # fmt: skip
def test_mistakes_get_one_line(capsys, tmp_path, monkeypatch, vae, lm, book, arguments, status, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes("good\ncaf\xe9\n".encode("latin1"))
    places = {"BOOK": book, "VAE": vae, "LM": lm, "EMPTY": "empty.txt", "LATIN": "latin.txt"}
    got, out, err = call(capsys, *(places.get(a, a) for a in arguments))
    assert (got, out) == (status, "")
    assert said in err.splitlines()[-1]
    assert "Traceback" not in err
    assert len([line for line in err.splitlines() if "note:" not in line]) == 1


# --- what the report is made of ---


def edits(a, b):
    """Levenshtein's distance by its definition."""

    @functools.cache
    def d(i, j):
        if not i or not j:
            return i + j
        return min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return d(len(a), len(b))


def test_distances_are_levenshteins():
    rng = random.Random(0)
    rows = [[rng.randrange(4, 8) for _ in range(rng.randrange(0, 9))] for _ in range(60)]
    for a in rows[:20]:
        expected = [edits(tuple(a), tuple(b)) / max(len(a), len(b), 1) for b in rows]
        np.testing.assert_allclose(distances(a, rows), expected)


def test_the_nearest_training_sentence_is_found():
    rng = random.Random(0)
    words = [f"w{i}" for i in range(12)]
    texts = list({" ".join(rng.choices(words, k=rng.randrange(1, 9))) for _ in range(150)})
    data = vk.load(texts)
    rows = words_of(data.train.rows(slice(None)))
    for held in words_of(data.test.rows(slice(None))):
        text, distance = nearest(held, data.train)
        assert distance == pytest.approx(float(distances(held, rows).min()))
        assert text in rows
    for row in rows[:5]:
        assert nearest(row, data.train) == (row, 0.0)
    assert nearest([], data.train)[1] > 0
    assert nearest([UNK], data.train)[1] == 1.0


def test_the_gallery_tells_texts_of_the_model(vae):
    data = vk.load((vae.parent / "book.txt"), max_length=9)
    model = vk.load_run(vae).model
    texts = text_gallery(model, data)
    assert text_gallery(model, data) == texts
    for part in texts["reconstructions"].values():
        for row in part:
            x = text_rows([row["original"]], data.schema).split.rows(slice(None))
            assert data.schema.text.decode(model.reconstruct(x)) == [row["rebuilt"]]
    best, median, worst = ([r["distance"] for r in texts["reconstructions"][k]] for k in ("Best", "Median", "Worst"))
    assert max(best) <= min(median) <= max(median) <= min(worst)
    for row in texts["interpolations"]:
        assert len(row) == 7
    lengths = (data.test.values != PAD).sum(1) - 1
    assert texts["lengths"]["real"] == torch.bincount(lengths, minlength=10).tolist()
