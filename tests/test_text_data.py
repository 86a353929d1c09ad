"""Text: vocabulary, sentences, splits and batches, and what hostile files do to them."""

import bz2
import gzip
import lzma
import random
import re

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.data.batches import epoch_batches
from vaekit.data.conform import load_rows
from vaekit.data.schema import Schema
from vaekit.data.sentences import lines_of, read_text, sort_out, split_sentences
from vaekit.data.text import is_text, text_rows
from vaekit.data.vocabulary import BOS, EOS, PAD, SPECIAL, UNK, Vocabulary
from vaekit.distributions.seeded import row_seeds
from vaekit.errors import DataError, UsageError
from vaekit.evaluation.rows import largest

STRANGE = [
    "שלום עולם",
    "السلام عليكم",
    "cafe\u0301 café naïve",
    "👩‍👩‍👧 👍🏽 flags 🇩🇪",
    "ไทย 日本語 中文",
    "zero\u200bwidth and\u00a0hard blank",
    "a  double blank",
    "</s> <pad> <s> eos pad",
]


@pytest.fixture(scope="module")
def sentences():
    rng = random.Random(3)
    words = [f"w{i}" for i in range(40)]
    return [" ".join(rng.choices(words, k=rng.randrange(1, 25))) for _ in range(400)]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- vocabulary ---


def test_words_are_numbered_by_how_often_they_occur_and_come_back():
    v = Vocabulary.of(["b a c", "a b", "a d"], size=3)
    assert v.tokens == (*SPECIAL, "a", "b", "c")
    assert v.encode(["a b c d", ""]) == [[4, 5, 6, UNK], []]
    assert v.decode([[4, 5, EOS, 6], [BOS, UNK, 4, PAD]]) == ["a b", "<unk> a"]
    assert v.size == 7


def test_minimum_count_leaves_rare_words_out():
    assert Vocabulary.of(["a a b b c"], minimum_count=2).tokens[4:] == ("a", "b")


@pytest.mark.parametrize("level", ["word", "bpe"])
def test_no_text_writes_a_special_token_but_unk(level):
    hostile = ["</s> <pad> <s> eos pad bos", " pad eos", "a</s>b <pad>", "[PAD] [UNK] <|endoftext|>"]
    for learned in (["a b c"], hostile):
        v = Vocabulary.of(learned, level, 300)
        found = {token for row in v.encode(hostile) for token in row}
        assert not found & {PAD, BOS, EOS}
        assert v.encode(["<unk>"])[0][-1] == UNK
    assert "<unk>" not in Vocabulary.of(["a <unk> <unk>"], "word").tokens[4:]


def test_pieces_of_bytes_lose_nothing():
    v = Vocabulary.of(["the cat sat on the mat"] * 5, "bpe", 280)
    assert v.decode(v.encode(STRANGE)) == STRANGE
    assert not any(UNK in row for row in v.encode(STRANGE))
    assert v.size <= 284


@pytest.mark.parametrize("level", ["word", "bpe"])
def test_a_vocabulary_survives_json(level, tmp_path):
    v = Vocabulary.of(STRANGE, level, 300)
    schema = Schema("text", (9,), vocabulary=v.to_json())
    again = Schema.from_json(__import__("json").loads(__import__("json").dumps(schema.to_json())))
    assert again == schema
    assert again.text.encode(STRANGE) == v.encode(STRANGE)
    assert again.text.tokens == v.tokens
    assert again.support == "tokens"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"level": "word", "size": 0}, "at least 1"),
        ({"level": "bpe", "size": 100}, "at least 256"),
        ({"level": "char"}, "word or bpe"),
        ({"level": "word", "minimum_count": 0}, "minimum count"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused(values, said):
    with pytest.raises(UsageError, match=said):
        Vocabulary.of(["a"], **values)


def test_a_damaged_vocabulary_is_said_in_one_line():
    for values in ({}, {"level": "word"}, {"level": "x", "tokenizer": {}}):
        with pytest.raises(DataError, match="vocabulary"):
            Vocabulary.from_json(values)
    with pytest.raises(DataError, match="vocabulary: damaged"):
        _ = Vocabulary("word", {"model": "none"}).tokens
    with pytest.raises(DataError, match="no vocabulary"):
        _ = Schema("image", (1, 2, 2)).text


# --- sentences ---


def test_lines_end_in_any_way_and_the_last_needs_no_end():
    assert lines_of("a\nb\r\nc\rd") == ["a", "b", "c", "d"]
    assert lines_of("a\n\nb\n") == ["a", "", "b"]
    assert lines_of("a\u2028b\x0cc\x85d") == ["a\u2028b\x0cc\x85d"], "no other separator ends a line"
    assert lines_of("") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two! Three?  Four", ["One.", "Two!", "Three?", "Four"]),
        ("Mr. and Mrs. Smith met J. R. Tolkien. He left.", ["Mr. and Mrs. Smith met J. R. Tolkien.", "He left."]),
        ("He paid 3.50 dollars. Then e.g. nothing", ["He paid 3.50 dollars.", "Then e.g. nothing"]),
        ("“Go!” He went.\nAway he\nwent.", ["“Go!”", "He went.", "Away he went."]),
        ("TITLE\n\nA line\nwrapped. End", ["TITLE", "A line wrapped.", "End"]),
        ("今日は。元気？はい！", ["今日は。", "元気？", "はい！"]),
        ("كيف حالك؟ بخير.", ["كيف حالك؟", "بخير."]),
        ("\n\n \n", []),
    ],
)
def test_running_text_is_cut_after_full_stops(text, found):
    assert split_sentences(text) == found
    # nothing is lost
    assert "".join("".join(found).split()) == "".join(text.split())


def test_auto_splits_where_blank_lines_divide_paragraphs():
    assert sort_out("a b.\nc d. E\n" * 9, "auto", "x").how == "line"
    assert sort_out("a b.\nc d. E\n\n" * 9, "auto", "x").how == "split"
    assert len(sort_out("One two three. " * 100, "auto", "x").sentences) == 100, "a book in one line"
    assert sort_out("a b.\nc d. E\n\n" * 9, "line", "x").sentences == ["a b.", "c d. E"] * 9
    with pytest.raises(UsageError, match="auto, line or split"):
        sort_out("a", "words", "x")


def test_labels_stand_before_a_tab():
    lines = "".join(f"{label}\tsentence {i}\n" for i, label in enumerate("xyyx" * 5))
    found = sort_out(lines, "auto", "x")
    assert found.labels == list("xyyx" * 5)
    assert found.sentences[3] == "sentence 3"
    assert sort_out("".join(f"text {i}\tand {i}\n" for i in range(20)), "auto", "x").labels is None, "pairs, no labels"
    with pytest.raises(DataError, match=r"f.txt: sentence 21 has no label<TAB> before it, 20 others have"):
        sort_out(lines + "bare", "auto", "f.txt")


# --- files ---


@pytest.mark.parametrize(
    ("ending", "pack"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_files_are_unpacked(tmp_path, ending, pack):
    path = write(tmp_path / f"a.txt{ending}", pack("é\nb".encode()))
    assert read_text(path) == "é\nb"
    assert is_text(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_mark_at_the_beginning_is_no_letter(tmp_path, encoding):
    assert read_text(write(tmp_path / "a.txt", "ab\n".encode(encoding))) == "ab\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "holds no sentence"),
        ("a.txt", b"\n \n\r\n\t\n", "holds no sentence"),
        ("a.txt", b"word", "1 sentence, too few"),
        ("a.txt", b"good line\nbad \xff line\n", r"line 2 is not UTF-8 \(byte 0xff\); convert it"),
        ("a.txt", b"one\ntwo\nthr\0ee\n", "line 3 holds a NUL byte"),
        ("a.txt", "one\ntwo\nthr\0ee\n".encode("utf-16"), "line 3 holds a NUL byte"),
        ("a.txt.gz", gzip.compress(b"a\n" * 100, mtime=0)[:-12], "cannot be read"),
        ("a.txt.gz", b"a\n" * 20, "cannot be read"),
        ("a.txt.xz", b"\xfd7zXZ\0broken", "cannot be read"),
        ("a.txt.bz2", bz2.compress(b"a\n" * 100)[:-5], "cannot be read"),
    ],
)
def test_a_file_that_is_no_text_gets_one_line(tmp_path, name, content, said):
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=said) as caught:
        vk.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level", ["word", "bpe"])
def test_a_line_of_a_megabyte_is_cut_and_counted(tmp_path, level):
    content = "x" * 1_000_000 + "\n" + "y " * 500_000 + "\n" + "a b c\n" * 30
    size = {"word": 50, "bpe": 300}[level]
    data = vk.load(write(tmp_path / "a.txt", content), vocabulary=level, vocabulary_size=size, max_length=20)
    assert sum(map(len, data.splits().values())) == 32
    assert sum(data.source["truncated"].values()) == (1 if level == "word" else 2)
    longest = max(map(len, data.schema.text.tokens))
    assert longest <= 200, "a word of a megabyte is no entry of the vocabulary"


def test_equal_lines_are_data_like_others(tmp_path):
    data = vk.load(write(tmp_path / "a.txt", "the same line\n" * 30))
    assert data.schema.text.size == 7
    assert data.source["unknown"] == {"train": 0.0, "validation": 0.0, "test": 0.0}


def test_letters_of_every_script_come_back(tmp_path):
    path = write(tmp_path / "a.txt", "\r\n".join(STRANGE * 6))
    data = vk.load(path, vocabulary="bpe", vocabulary_size=400)
    found = [t for split in data.splits().values() for t in data.schema.text.decode(split.rows(slice(None)))]
    assert sorted(found) == sorted(STRANGE * 6)
    words = vk.load(path, max_length=50)
    found = [t for split in words.splits().values() for t in words.schema.text.decode(split.rows(slice(None)))]
    assert sorted(found) == sorted(" ".join(text.split()) for text in STRANGE * 6)


def test_unknown_words_only(tmp_path):
    data = vk.load(["a b c"] * 20)
    rows = text_rows(write(tmp_path / "t.txt", "q r\ns\n"), data.schema)
    assert rows.split.values[:, :3].tolist() == [[UNK, UNK, EOS], [UNK, EOS, PAD]]


def test_a_folder_gives_its_parts_as_they_stand(tmp_path):
    for name, letter, n in (("x.train.txt", "a", 30), ("x.valid.txt", "b", 4), ("x.test.txt", "c", 5)):
        write(tmp_path / name, f"{letter} {letter}\n" * n)
    write(tmp_path / "README.md", "no data")
    data = vk.load(tmp_path)
    assert {name: len(split) for name, split in data.splits().items()} == {"train": 30, "validation": 4, "test": 5}
    assert data.schema.text.tokens[4:] == ("a",), "learned from the training sentences alone"
    assert data.source["unknown"] == {"train": 0.0, "validation": 1.0, "test": 1.0}
    (tmp_path / "x.valid.txt").unlink()
    data = vk.load(tmp_path)
    assert {name: len(split) for name, split in data.splits().items()} == {"train": 27, "validation": 3, "test": 5}
    assert len(load_rows(tmp_path, data.schema)) == 5, "the test part of a source that has one"
    assert len(load_rows(tmp_path, data.schema, part="all")) == 35
    with pytest.raises(DataError, match="no validation part"):
        load_rows(tmp_path, data.schema, part="validation")


def test_splits_are_drawn_from_the_seed_and_nothing_is_lost(sentences):
    a, b, c = (vk.load(sentences, split_seed=seed) for seed in (0, 0, 1))
    texts = [[t for s in d.splits().values() for t in d.schema.text.decode(s.rows(slice(None)))] for d in (a, b, c)]
    assert texts[0] == texts[1] != texts[2]
    assert sorted(texts[0]) == sorted(sentences)
    assert a.train.fingerprint() == b.train.fingerprint() != c.train.fingerprint()


def test_labels_become_classes(sentences):
    labels = ["left" if i % 3 else "right" for i in range(len(sentences))]
    data = vk.load(sentences, labels=labels)
    assert data.schema.classes == ("left", "right")
    by_text = dict(zip(sentences, labels, strict=True))
    for text, number in zip(data.schema.text.decode(data.test.rows(slice(None))), data.test.labels, strict=True):
        assert by_text[text] == data.schema.classes[number]
    assert data.test.condition(slice(0, 3), 2).shape == (3, 2)


def test_rows_of_labelled_files(tmp_path, sentences):
    data = vk.load(sentences[:30], labels=list("ab" * 15))
    assert text_rows(write(tmp_path / "1.txt", "b\tw1\na\tw2"), data.schema).split.labels.tolist() == [1, 0]
    assert text_rows(write(tmp_path / "2.txt", "w1\nw2"), data.schema).split.labels is None
    with pytest.raises(DataError, match=r"label 'q' of sentence 2 is none of the model's: a, b"):
        text_rows(write(tmp_path / "3.txt", "b\tw1\nq\tw2"), data.schema)


@pytest.mark.parametrize(
    ("source", "keywords", "said"),
    [
        (["a", 3], {}, "item 1 is of type int"),
        (["a"] * 20, {"labels": ["x"]}, "1 labels for 20 sentences"),
        (["a"] * 20, {"max_length": 1}, "at least 2 tokens"),
        (["a\ud800"] * 20, {}, "no valid text"),
        ([""] * 20, {}, "no word"),
        ([], {}, "too few"),
        (["a"] * 20, {"binarize": "static"}, "neither conditions nor binarize"),
    ],
)
def test_lists_that_cannot_be_are_refused(source, keywords, said):
    with pytest.raises((DataError, UsageError), match=said):
        vk.load(source, **keywords)


def test_a_blank_line_is_a_row_of_a_finished_run(tmp_path):
    data = vk.load(["a b c"] * 20)
    rows = text_rows(write(tmp_path / "t.txt", "a\n\nb b\n"), data.schema)
    assert rows.sentences == ["a", "", "b b"]
    assert rows.split.lengths.tolist() == [2, 1, 3]


def test_text_and_other_data_do_not_mix(tmp_path):
    text, path = vk.load(["a b c"] * 20), write(tmp_path / "t.txt", "a\n")
    with pytest.raises(DataError, match="is text, but the model was made for other data"):
        load_rows(path, vk.load("digits").schema)
    with pytest.raises(DataError, match="no text, but the model was made for sentences"):
        load_rows("digits", text.schema)
    np.save(tmp_path / "x.npy", np.zeros((5, 3)))
    with pytest.raises(DataError, match="no text, but"):
        load_rows(tmp_path / "x.npy", text.schema)
    with pytest.raises(DataError, match="no such text file"):
        load_rows(tmp_path / "none.txt", text.schema)


# --- rows and batches ---


def test_rows_are_cropped_to_their_own_longest_and_end_once(sentences):
    data = vk.load(sentences, max_length=12)
    x = data.train.rows(torch.tensor([0, 5, 9]))
    assert x.dtype == torch.int64
    assert x.shape[1] == int(data.train.lengths[[0, 5, 9]].max())
    for row, length in zip(data.train.values, data.train.lengths, strict=True):
        assert row[length - 1] == EOS
        assert int((row == EOS).sum()) == 1
        assert not bool(row[length:].any())
        assert not bool((row[:length] == PAD).any())
    long = sum(len(s.split()) > 11 for s in sentences)
    assert sum(data.source["truncated"].values()) == long > 0


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_buckets_hold_every_row_once(sentences, batch_size):
    train = vk.load(sentences).train
    device = torch.device("cpu")

    def epoch(seed, number, share=(0, 1)):
        return list(epoch_batches(train, batch_size, seed=seed, epoch=number, device=device, share=share))

    def rows(batches):
        return [tuple(row[row != PAD].tolist()) for batch in batches for row in batch.x]

    first = epoch(1, 1)
    assert sorted(rows(first)) == sorted(
        tuple(r[:n].tolist()) for r, n in zip(train.values, train.lengths, strict=True)
    )
    assert [len(b.x) for b in first[:-1]] == [batch_size] * (len(first) - 1), "only the last batch is smaller"
    assert rows(first) == rows(epoch(1, 1))
    assert rows(first) != rows(epoch(1, 2)) or batch_size == 1000
    assert rows(first) != rows(epoch(2, 1)) or batch_size == 1000
    shared = [rows(epoch(1, 1, (rank, 2))) for rank in (0, 1)]
    assert sorted(shared[0] + shared[1]) == sorted(rows(first))


def test_buckets_are_worth_it_and_in_random_order(sentences):
    train = vk.load(sentences * 10).train
    batches = [b.x for b in epoch_batches(train, 32, seed=0, epoch=1, device=torch.device("cpu"))]
    padded = 1 - sum(int((x != PAD).sum()) for x in batches) / sum(x.numel() for x in batches)
    plain = [train.rows(slice(i, i + 32)) for i in range(0, len(train), 32)]
    unsorted = 1 - sum(int((x != PAD).sum()) for x in plain) / sum(x.numel() for x in plain)
    assert padded < 0.1 < 0.4 < unsorted
    widths = np.array([x.shape[1] for x in batches], float)
    assert abs(np.corrcoef(widths[:-1], widths[1:])[0, 1]) < 0.4, "long batches do not follow each other"


def test_padding_changes_no_seed(sentences):
    x = vk.load(sentences).test.rows(slice(0, 9))
    wider = torch.cat([x, torch.zeros(9, 5, dtype=torch.int64)], 1)
    assert row_seeds(x, 3) == row_seeds(wider, 3)
    assert row_seeds(x, 3) == [row_seeds(row[None], 3)[0] for row in x]
    assert row_seeds(x, 3) != row_seeds(x, 4)
    assert len(set(row_seeds(x, 3))) == len({tuple(row.tolist()) for row in x})


def test_head_and_take_keep_lengths(sentences):
    train = vk.load(sentences).train
    assert train.head(5).lengths.tolist() == train.lengths[:5].tolist()
    assert torch.equal(train.take(torch.tensor([7, 2])).rows(slice(0, 1))[0], train.rows(slice(7, 8))[0])


def test_schema_checks_tokens(sentences):
    schema = vk.load(sentences, max_length=10).schema
    schema.check(torch.tensor([[4, EOS, PAD]]), "x")
    for wrong in (torch.zeros(2, 3), torch.zeros(2, 11, dtype=torch.int64), torch.tensor([[schema.text.size]])):
        with pytest.raises(DataError, match=re.escape("x: ")):
            schema.check(wrong, "x")


def test_tokens_stay_whole_numbers_on_their_way_to_a_model(sentences):
    batch = vk.Batch(torch.tensor([[4, 2]]), torch.tensor([[1.0]])).to("cpu", torch.float64)
    assert batch.x.dtype == torch.int64
    assert batch.c.dtype == torch.float64


def test_an_evaluation_is_sized_by_the_longest_sentence(sentences):
    split = vk.load(sentences).test
    model = torch.nn.Linear(1, 1)
    model.condition_dim, model.condition_optional = 0, False
    x = largest(model, split).x
    assert x.shape == (1, int(split.lengths.max()))
    assert x.dtype == torch.int64
    plain = vk.load(np.eye(12)).test
    assert torch.equal(largest(model, plain).x, plain.rows(slice(0, 1)))
