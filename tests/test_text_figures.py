"""Figures of text against hand numbers; a ratio's error against simulation."""

import json
import math

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.cli.main import main
from vaekit.data.vocabulary import EOS, PAD, UNK, Vocabulary
from vaekit.errors import UsageError
from vaekit.evaluation import evaluate, to_json
from vaekit.evaluation.estimate import ratio_of
from vaekit.evaluation.figures import Question
from vaekit.evaluation.text import against, token_accuracy, word_counts

SENTENCES = ["a b", "b a a a", "c", "a b c never", "a"]
"""With the ends 3, 5, 2, 5 and 2 tokens; `never` is not in the vocabulary."""

PROBABILITIES = {"</s>": 0.4, "<unk>": 0.05, "a": 0.3, "b": 0.2, "c": 0.05}


def dataset(sentences=SENTENCES, level="word", known=("a", "b", "c")):
    vocabulary = Vocabulary.of(known, level, size=300)
    rows = [[*found, EOS] for found in vocabulary.encode(sentences)]
    lengths = torch.tensor([len(row) for row in rows])
    values = torch.full((len(rows), int(lengths.max())), PAD, dtype=torch.int32)
    for at, row in enumerate(rows):
        values[at, : len(row)] = torch.tensor(row, dtype=torch.int32)
    split = vk.Split(values, lengths=lengths)
    return vk.Dataset(vk.Schema("text", (values.shape[1],), vocabulary=vocabulary.to_json()), split, split, split)


def unigram(data, make=vk.models.text_lm, **more):
    """A model whose decoder ignores what came before and gives every token its entry in `PROBABILITIES`."""
    torch.manual_seed(0)
    model = make(data.schema, embedding_dim=4, decoder_dim=4, **more).eval()
    tokens = data.schema.text.tokens
    with torch.no_grad():
        model.decoder.softmax.weight.zero_()
        model.decoder.softmax.bias.copy_(torch.tensor([math.log(PROBABILITIES[t]) for t in tokens[EOS:]]))
    return model


def by_hand(sentences=SENTENCES):
    known = [[w if w in PROBABILITIES else "<unk>" for w in s.split()] + ["</s>"] for s in sentences]
    return [-sum(math.log(PROBABILITIES[w]) for w in words) for words in known]


def test_figures_of_a_language_model_by_hand():
    data = dataset()
    figures = evaluate(unigram(data), data, samples=3)
    nll = by_hand()
    assert sum(map(len, map(str.split, SENTENCES))) == 12
    assert figures["nll"].value == pytest.approx(sum(nll) / 5, rel=1e-6)
    assert figures["nll"].standard_error == pytest.approx(np.std(nll, ddof=1) / math.sqrt(5), rel=1e-6)
    assert figures["nll_per_word"].value == pytest.approx(sum(nll) / 17, rel=1e-6)
    assert figures["word_perplexity"].value == pytest.approx(math.exp(sum(nll) / 17), rel=1e-6)
    assert figures["word_perplexity_without_end"].value == pytest.approx(math.exp(sum(nll) / 12), rel=1e-6)
    # the most probable token is always the end: right at 5 of 17
    assert figures["token_accuracy"].value == pytest.approx(5 / 17)
    assert figures["kl"].value == 0
    assert "nll_importance" not in figures
    assert figures["log_likelihood"].value == pytest.approx(-sum(nll) / 5, rel=1e-6)
    assert "effective_samples" not in figures
    assert all("exact" in figures[key].estimator for key in ("nll", "log_likelihood"))
    assert "exact" in figures["word_perplexity"].estimator
    json.dumps(to_json(figures), allow_nan=False)


def test_a_uniform_model_is_perplexed_by_all_it_may_write():
    data = dataset()
    model = unigram(data)
    torch.nn.init.zeros_(model.decoder.softmax.bias)
    found = evaluate(model, data, samples=1)["word_perplexity"]
    assert found.value == pytest.approx(5.0, rel=1e-6)
    assert found.standard_error == pytest.approx(0.0, abs=1e-5)


def test_the_kl_of_a_vae_is_in_its_nll():
    """A decoder that ignores its code: the bound is the unigram's minus the KL, log p(x) by many draws nearly without it."""
    data = dataset()
    model = unigram(data, vk.models.text_vae, latent_dim=2, encoder_dim=4)
    with torch.no_grad():
        # mean off by 0.7; a variance above the prior's bounds the weights of importance sampling
        model.encoder.network.bias.copy_(torch.tensor([[0.7, 0.7], [0.4, 0.4]]).view(model.encoder.network.out_shape))
    figures, nll, x = evaluate(model, data, samples=4000), by_hand(), data.test.rows(slice(None))
    q = model.posterior(x)
    kl = torch.distributions.kl_divergence(q.base_dist, torch.distributions.Normal(0.0, 1.0)).sum(1).detach()
    assert float(kl.min()) > 0.1
    assert figures["nll"].value == pytest.approx(sum(nll) / 5 + float(kl.mean()), rel=1e-5)
    assert figures["nll_per_word"].value == pytest.approx((sum(nll) + float(kl.sum())) / 17, rel=1e-5)
    assert figures["nll_importance"].value == pytest.approx(sum(nll) / 5, abs=0.05)
    assert figures["nll_importance"].value == -figures["log_likelihood"].value
    assert figures["word_perplexity_importance"].value == pytest.approx(math.exp(sum(nll) / 17), rel=0.01)
    assert "KL included" in figures["nll"].estimator
    stopped = evaluate(model, data, samples=4000, standard_error=0.05)
    names = ("log_likelihood", "nll_importance", "word_perplexity_importance")
    assert len({stopped[name].samples for name in names}) == 1
    assert stopped["nll_importance"].samples < 4000
    assert all("stopped at s.e. 0.05" in stopped[name].estimator for name in names)
    assert figures["token_accuracy"].value == pytest.approx(5 / 17)


def test_token_accuracy_is_taken_at_the_true_tokens_before():
    """The decoder of a trained model: the guesses one by one, each from its own sentence cut off before it."""
    data = dataset(SENTENCES * 8)
    torch.manual_seed(0)
    model = vk.models.text_vae(data.schema, latent_dim=2, embedding_dim=8, encoder_dim=8, decoder_dim=8, dropout=0.0)
    vk.fit(model, data, epochs=12, batch_size=10, learning_rate=2e-2, progress=False, device="cpu")
    right = total = 0
    for row, length in zip(data.test.values[:5].long(), data.test.lengths[:5].tolist(), strict=True):
        z = model.encode(row[None, :length])
        for t in range(length):
            # log p of the sentence's first t tokens and each candidate; PAD and BOS are never written
            longer = torch.stack([torch.cat([row[:t], torch.tensor([w])]) for w in range(EOS, data.schema.text.size)])
            right += int(model.decode(z).log_prob(longer).argmax()) + EOS == int(row[t])
            total += 1
    found = token_accuracy(model, vk.Split(data.test.values[:5], lengths=data.test.lengths[:5]))
    assert (found.value, found.unit) == (pytest.approx(right / total), "accuracy")
    assert right > 5


@pytest.mark.parametrize("level", ["word", "bpe"])
def test_words_are_what_stands_between_blanks(level):
    texts = ["a bb ccc", "supercalifragilistic", "a a a a", "<unk> x"]
    data = dataset(texts, level, known=["a bb ccc", "super x"])
    words, ends = word_counts(data.test, data.schema.text)
    assert words.tolist() == [3, 1, 4, 2]
    assert ends.tolist() == [1, 1, 1, 1]
    if level == "word":
        cut = torch.tensor([[UNK, UNK], [UNK, EOS]], dtype=torch.int32)
        assert [w.tolist() for w in word_counts(vk.Split(cut), data.schema.text)] == [[2, 1], [0, 1]]


def test_the_error_of_a_ratio_is_its_deviation_over_repetitions():
    rng = np.random.default_rng(0)
    words = rng.integers(2, 40, size=(4000, 60))
    nats = 3.0 * words + rng.normal(size=words.shape) * np.sqrt(words) * 2 + 4
    found = [ratio_of(n, w, "nats", "") for n, w in zip(nats, words, strict=True)]
    deviation = np.std([e.value for e in found])
    assert np.mean([e.standard_error for e in found]) == pytest.approx(deviation, rel=0.05)
    # far from what independent words, or the mean of each sentence's own ratio, would have
    assert np.mean([e.standard_error for e in found]) < 0.7 * np.mean(np.std(nats / words, axis=1)) / math.sqrt(60)
    assert ratio_of([1.0], [2.0], "nats", "").standard_error is None
    assert math.isnan(ratio_of([1.0, 2.0], [0.0, 0.0], "nats", "").value)


def test_a_model_beside_a_language_model():
    data = dataset(SENTENCES * 4)
    vae, lm = unigram(data, vk.models.text_vae, latent_dim=2, encoder_dim=4), unigram(data)
    torch.nn.init.zeros_(lm.decoder.softmax.bias)
    questions = [Question(m, data, data.test, samples=500) for m in (vae, lm)]
    found = against(*questions)
    uniform = np.array([math.log(5) * (len(s.split()) + 1) for s in SENTENCES * 4])
    gain = uniform - np.array(by_hand() * 4)
    assert found["log_likelihood_gain"].value == pytest.approx(gain.mean(), abs=0.02)
    assert found["log_likelihood_gain"].standard_error == pytest.approx(np.std(gain, ddof=1) / math.sqrt(20), rel=0.02)
    kl = evaluate(vae, data, samples=1)["kl"].value
    assert found["elbo_gain"].value == pytest.approx(gain.mean() - kl, rel=1e-4)
    assert found["elbo_gain"].standard_error == pytest.approx(np.std(gain, ddof=1) / math.sqrt(20), rel=0.05)


def test_models_of_other_words_are_not_compared():
    data, other = dataset(), dataset(known=("a", "b", "never"))
    one = unigram(data)
    with pytest.raises(UsageError, match="its vocabulary is not this run's"):
        against(Question(one, data, data.test), Question(vk.models.text_lm(other.schema), other, other.test))
    plain = vk.models.vae(vk.Schema("vector", (4,)), latent_dim=2, hidden=(4,))
    with pytest.raises(UsageError, match=r"made for vector data of shape \(4,\)"):
        against(Question(one, data, data.test), Question(plain, data, data.test))
    auto = vk.models.text_autoencoder(data.schema, latent_dim=2)
    with pytest.raises(UsageError, match="without a likelihood"):
        against(Question(auto, data, data.test), Question(one, data, data.test))


def test_evaluate_against_another_run(tmp_path, capsys):
    data = dataset()
    vae, lm = unigram(data, vk.models.text_vae, latent_dim=2, encoder_dim=4), unigram(data)
    torch.nn.init.zeros_(lm.decoder.softmax.bias)
    for name, model in (("vae", vae), ("lm", lm)):
        vk.save_run(tmp_path / name, model)
    (tmp_path / "lines.txt").write_text("\n".join(SENTENCES), "utf-8")
    given = ["evaluate", str(tmp_path / "vae"), "--data", str(tmp_path / "lines.txt"), "--samples", "20"]
    assert main([*given, "--against", str(tmp_path / "lm"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    other = found["against"]["evaluation"]
    assert other["word_perplexity"]["value"] == pytest.approx(5.0, rel=1e-6)
    assert found["elbo_gain"]["value"] == pytest.approx(other["nll"]["value"] - found["nll"]["value"], rel=1e-6)
    assert main([*given, "--against", str(tmp_path / "lm")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("perplexity  "))
    assert float(line.split()[3]) == 5.0
    vk.save_run(tmp_path / "other", vk.models.text_lm(dataset(known=("a", "x")).schema))
    assert main([*given, "--against", str(tmp_path / "other")]) == 2
    assert "its vocabulary is not this run's" in capsys.readouterr().err
