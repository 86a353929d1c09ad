"""Models of sentences, held to enumeration, to recurrences written out, to hand counts and to finite differences."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import vaekit as vk
from vaekit.data.vocabulary import BOS, EOS, PAD, UNK, Vocabulary
from vaekit.distributions import Sequence, closed_kl_per_dim, point_of
from vaekit.distributions import sequence as sequence_file
from vaekit.distributions.posteriors import DiagonalGaussian
from vaekit.distributions.seeded import row_seeds
from vaekit.distributions.softmax import make_softmax
from vaekit.errors import DataError, UsageError
from vaekit.models.sentences import WRITERS
from vaekit.networks.lstm import LSTMReader, LSTMWriter
from vaekit.networks.transformer import TransformerWriter, places

SIZE = 6
"""Tokens of the small vocabulary: EOS, UNK and two words can be written."""

WRITABLE = range(EOS, SIZE)


def loud(module, seed=0):
    """The module in double precision, its weights drawn anew: as they start, all sentences are about as probable."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        nn.init.normal_(parameter, generator=generator)
    return module.eval()


def sequence(network="lstm", softmax="full", tied=False, dim=2, rows=3, length=5, width=4, seed=0):
    writer = loud(WRITERS[network](SIZE, 3, width, dim), seed)
    head = loud(make_softmax(softmax, width, SIZE, writer.embedding if tied else None), seed + 1)
    code = torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Sequence(writer, head, code, length)


def sentences(longest, cut=False):
    """Every sentence of at most `longest` tokens; with `cut` also every beginning of that many that is not over."""
    words, rows = [t for t in WRITABLE if t != EOS], []
    for count in range(longest):
        for said in itertools.product(words, repeat=count):
            rows.append([*said, EOS] + [PAD] * (longest - count - 1))
    if cut:
        rows += [list(said) for said in itertools.product(words, repeat=longest)]
    return torch.tensor(rows)


NETWORKS = ("lstm", "transformer")
HEADS = (("full", False), ("full", True), ("adaptive", False))
networks = pytest.mark.parametrize("network", NETWORKS)
heads = pytest.mark.parametrize(("softmax", "tied"), HEADS, ids=["full", "tied", "adaptive"])
codes_or_none = pytest.mark.parametrize("dim", [0, 2])


@networks
@heads
@codes_or_none
def test_probabilities_of_all_sentences_sum_to_one(network, softmax, tied, dim):
    q = sequence(network, softmax, tied, dim)
    total = q.log_prob(sentences(4, cut=True)[:, None]).logsumexp(0)
    assert_close(total, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)


@networks
def test_a_row_without_an_end_is_the_sum_of_what_begins_so(network):
    q = sequence(network)
    begun = torch.tensor([4, UNK])
    following = torch.stack([torch.cat([begun, torch.tensor([t])]) for t in WRITABLE])
    assert_close(q.log_prob(following[:, None]).logsumexp(0), q.log_prob(begun.expand(3, 2)), rtol=0, atol=1e-12)


def written_out(q, row, code):
    """log p of one sentence by the recurrence of the file's first lines, gate by gate, in NumPy."""
    weights = {name: value.detach().numpy() for name, value in q.network.state_dict().items()}

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    cell = weights["first.weight"] @ code + weights["first.bias"]
    hidden, before, total = np.tanh(cell), BOS, 0.0
    for token in row:
        if token == PAD:
            break
        seen = np.concatenate([weights["embedding.weight"][before], code])
        gates = weights["lstm.weight_ih_l0"] @ seen + weights["lstm.bias_ih_l0"]
        gates = gates + weights["lstm.weight_hh_l0"] @ hidden + weights["lstm.bias_hh_l0"]
        let_in, keep, new, out = np.split(gates, 4)
        cell = sigmoid(keep) * cell + sigmoid(let_in) * np.tanh(new)
        hidden = sigmoid(out) * np.tanh(cell)
        logits = q.softmax.weight.detach().numpy() @ hidden + q.softmax.bias.detach().numpy()
        total += logits[token - EOS] - np.log(np.exp(logits).sum())
        before = token
    return total


def test_the_lstm_is_its_recurrence():
    q, rows = sequence(), sentences(3, cut=True)[5:8]
    by_hand = [written_out(q, row, code) for row, code in zip(rows.tolist(), q.code.numpy(), strict=True)]
    assert_close(q.log_prob(rows), torch.tensor(by_hand, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_the_transformer_is_torchs():
    """Against `nn.TransformerEncoderLayer` with the same weights and a mask of its own."""
    width, writer = 8, loud(TransformerWriter(SIZE, 8, 8, 2))
    code, tokens = torch.randn(3, 2, dtype=torch.float64), torch.randint(2, SIZE, (3, 7))
    h = writer.embedding(tokens) + writer.code(code)[:, None] + places(0, 7, width)
    for layer in writer.layers:
        other = nn.TransformerEncoderLayer(
            width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64
        )
        names = {
            "self_attn.in_proj_": layer.queries_keys_values,
            "self_attn.out_proj.": layer.out,
            "linear1.": layer.map[0],
            "linear2.": layer.map[2],
            "norm1.": layer.before_attention,
            "norm2.": layer.before_map,
        }
        other.load_state_dict({name + part: getattr(m, part) for name, m in names.items() for part in ("weight", "bias")})
        h = other.train()(h, src_mask=nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64))
    assert_close(writer(tokens, code), writer.norm(h), rtol=1e-10, atol=1e-10)


def test_a_bigram_language_model_is_a_hand_count():
    """An LSTM whose gates stand open remembers the last token alone; with log-counts as weights its likelihood is theirs."""
    corpus = [[4, 5, 4, EOS], [5, EOS], [4, 4, 5, UNK, EOS], [5, 4, EOS], [4, EOS], [EOS], [UNK, 5, EOS]]
    counts = np.zeros((SIZE, SIZE))
    for row in corpus:
        for before, after in itertools.pairwise([BOS, *row]):
            counts[before, after] += 1
    writer, head = LSTMWriter(SIZE, SIZE, SIZE).double(), make_softmax("full", SIZE, SIZE).double()
    with torch.no_grad():
        for parameter in (*writer.parameters(), *head.parameters()):
            parameter.zero_()
        writer.embedding.weight.copy_(torch.eye(SIZE))
        gates = writer.lstm.bias_ih_l0.view(4, SIZE)  # let in, keep, new, out
        gates.copy_(torch.tensor([60.0, -60.0, 0.0, 60.0])[:, None].expand(4, SIZE))
        writer.lstm.weight_ih_l0.view(4, SIZE, SIZE)[2].copy_(60 * torch.eye(SIZE))
        head.weight.copy_(torch.from_numpy(np.log(counts + 1e-300).T[EOS:] / math.tanh(1.0)))
    x = torch.tensor([row + [PAD] * (5 - len(row)) for row in corpus])
    found = Sequence(writer, head, torch.zeros(len(x), 0, dtype=torch.float64), 5).log_prob(x).sum().item()
    among = counts[counts > 0]
    wanted = (among * np.log((counts / counts.sum(1, keepdims=True).clip(1))[counts > 0])).sum()
    assert found == pytest.approx(wanted, rel=1e-12)


@networks
@codes_or_none
def test_padding_order_and_company_change_no_likelihood(network, dim):
    rows = sentences(4)[::3]
    q = sequence(network, dim=dim, rows=len(rows))
    whole = q.log_prob(rows)
    wide = torch.nn.functional.pad(rows, (0, 6), value=PAD)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    shuffled = Sequence(q.network, q.softmax, q.code[order], 5).log_prob(rows[order])
    lengths = (rows != PAD).sum(1)
    assert_close(q.log_prob(wide), whole, rtol=0, atol=1e-10)
    assert_close(shuffled, whole[order], rtol=0, atol=1e-10)
    for length in lengths.unique():
        bucket = lengths == length
        alone = Sequence(q.network, q.softmax, q.code[bucket], 5).log_prob(rows[bucket, :length])
        assert_close(alone, whole[bucket], rtol=0, atol=1e-10)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("told", [0, 2])
def test_padding_order_and_company_change_no_reading(bidirectional, told):
    reader = loud(LSTMReader(SIZE, 3, 4, (2, 5), bidirectional, condition_dim=told))
    rows = sentences(4)[::3]
    c = torch.randn(len(rows), told, dtype=torch.float64) if told else None
    whole = reader(rows, c)
    assert_close(reader(torch.nn.functional.pad(rows, (0, 6)), c), whole, rtol=0, atol=1e-10)
    for i, row in enumerate(rows):
        alone = reader(row[None, row != PAD], None if c is None else c[i, None])
        assert_close(alone[0], whole[i], rtol=0, atol=1e-10)
    assert not torch.allclose(whole[0], whole[1], atol=1e-3)


def test_a_bidirectional_reader_is_two_lstms():
    """The second reads the sentence backwards, without its padding."""
    reader = loud(LSTMReader(SIZE, 3, 4, (5,), bidirectional=True))
    row = torch.tensor([4, 5, 5, EOS])
    halves = []
    for suffix, order in (("", row), ("_reverse", row.flip(0))):
        lstm = nn.LSTM(3, 4, batch_first=True, dtype=torch.float64)
        lstm.load_state_dict({name: getattr(reader.lstm, name + suffix) for name in lstm.state_dict()})
        halves.append(lstm(reader.embedding(order[None]))[0][:, -1])
    padded = torch.nn.functional.pad(row, (0, 2))[None]
    assert_close(reader(padded), reader.out(torch.cat(halves, -1)), rtol=1e-12, atol=1e-12)


@networks
@codes_or_none
def test_writing_step_by_step_is_teacher_forcing(network, dim):
    q = sequence(network, dim=dim)
    tokens = torch.tensor([[BOS, 4, 5, UNK, 5], [BOS, 5, 4, 4, EOS], [BOS, UNK, UNK, 5, 4]])
    state, steps = q.network.start(q.code), []
    for t in range(5):
        features, state = q.network.step(tokens[:, t], state)
        assert all(len(part) == 3 for part in state)
        steps.append(features)
    assert_close(torch.stack(steps, 1), q.network(tokens, q.code), rtol=0, atol=1e-12)


@networks
def test_what_follows_does_not_change_what_came_before(network):
    q = sequence(network)
    one = torch.tensor([[4, 5, UNK, EOS, PAD]] * 3)
    two = torch.tensor([[4, 5, 5, 4, EOS]] * 3)
    assert torch.equal(q.log_prob_per_token(one)[:, :2], q.log_prob_per_token(two)[:, :2])
    assert not torch.allclose(q.log_prob_per_token(one)[:, 2:], q.log_prob_per_token(two)[:, 2:])
    assert_close(q.log_prob_per_token(one).sum(-1), q.log_prob(one))


@networks
def test_guesses_are_the_best_tokens_given_the_true_ones(network):
    q = sequence(network)
    x = torch.tensor([[4, 5, EOS, PAD], [UNK, 4, 4, EOS], [EOS, PAD, PAD, PAD]])
    for row, guessed, i in zip(x.tolist(), q.guesses(x).tolist(), range(3), strict=True):
        one, said = Sequence(q.network, q.softmax, q.code[i], 5), [t for t in row if t != PAD]
        for t in range(len(said)):
            tries = torch.tensor([[*said[:t], u] for u in WRITABLE])
            assert guessed[t] == WRITABLE[int(one.log_prob_per_token(tries)[:, -1].argmax())]
        assert guessed[len(said) :] == [PAD] * (len(row) - len(said))


@networks
def test_a_code_that_is_used_changes_log_p(network):
    x, q = torch.tensor([[4, 5, EOS]]), sequence(network)
    assert q.log_prob(x).unique().numel() == 3


@networks
def test_a_code_of_no_dimension_is_the_language_model(network):
    """With the weights of the code at 0, a decoder with a code is the one without."""
    coded, plain = sequence(network), sequence(network, dim=0)
    state = {name: value.clone() for name, value in coded.network.state_dict().items()}
    if network == "lstm":
        state["first.weight"].zero_(), state["first.bias"].zero_()
        state["lstm.weight_ih_l0"][:, 3:] = 0
    else:
        state["code.weight"].zero_(), state["code.bias"].zero_()
    coded.network.load_state_dict(state)
    kept = {name: v[:, :3] if name == "lstm.weight_ih_l0" else v for name, v in state.items()}
    plain.network.load_state_dict({name: kept[name] for name in plain.network.state_dict()})
    x = sentences(3)[:, None]
    assert_close(
        coded.log_prob(x), Sequence(plain.network, coded.softmax, plain.code, 5).log_prob(x), rtol=0, atol=1e-12
    )


@networks
@heads
def test_gradients_are_finite_differences(network, softmax, tied):
    q, x = sequence(network, softmax, tied), sentences(3)[4:7]
    names, values = zip(*q.network.named_parameters(), strict=True)

    def log_p(code, *parameters):
        def call(tokens, code):
            return torch.func.functional_call(q.network, dict(zip(names, parameters, strict=True)), (tokens, code))

        return Sequence(call, q.softmax, code, 5).log_prob(x)

    assert torch.autograd.gradcheck(log_p, (q.code.requires_grad_(), *values), fast_mode=True)
    weights = [p for p in q.softmax.parameters() if p.requires_grad]

    def by_softmax(*_):
        return Sequence(q.network, q.softmax, q.code, 5).log_prob(x)

    assert torch.autograd.gradcheck(by_softmax, weights, fast_mode=True)


@heads
def test_the_softmax_in_chunks_is_the_softmax(monkeypatch, softmax, tied):
    """Values and gradients, and no more rows at a time than the bound allows."""
    q, x = sequence(softmax=softmax, tied=tied), sentences(4)[10:13]
    parameters = [*q.network.parameters(), *q.softmax.parameters()]
    whole = q.log_prob(x)
    gradients = torch.autograd.grad(whole.sum(), parameters)
    monkeypatch.setattr(sequence_file, "LOGITS", 2 * SIZE + 1)
    seen, real = [], type(q.softmax).log_prob
    monkeypatch.setattr(type(q.softmax), "log_prob", lambda s, f, t: (seen.append(len(f)), real(s, f, t))[1])
    parts = q.log_prob(x)
    assert_close(parts, whole, rtol=0, atol=1e-12)
    for one, other in zip(torch.autograd.grad(parts.sum(), parameters), gradients, strict=True):
        assert_close(one, other, rtol=0, atol=1e-12)
    with torch.no_grad():
        assert_close(q.log_prob(x), whole, rtol=0, atol=1e-12)
    assert max(seen) == 2


def test_chunks_keep_no_logits_for_the_way_back(monkeypatch):
    q, x = sequence(width=5), sentences(4)[10:13]
    monkeypatch.setattr(sequence_file, "LOGITS", 2 * SIZE)
    kept = []

    def keep(t):
        kept.append(tuple(t.shape))
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        q.log_prob(x)
    assert not [shape for shape in kept if len(shape) == 2 and shape[1] == SIZE - EOS and shape[0] in (1, 2)]


def test_the_softmax_sees_real_tokens_only(monkeypatch):
    q, x = sequence(), torch.tensor([[4, EOS, PAD, PAD], [EOS, PAD, PAD, PAD], [4, 5, 4, EOS]])
    seen, real = [], type(q.softmax).log_prob
    monkeypatch.setattr(type(q.softmax), "log_prob", lambda s, f, t: (seen.append(t), real(s, f, t))[1])
    q.log_prob(x)
    assert torch.cat(seen).tolist() == [4, EOS, EOS, 4, 5, 4, EOS]


def test_word_dropout_hides_inputs_and_no_targets(monkeypatch):
    q, x = sequence(), torch.tensor([[4, 5, 4, EOS]] * 3)
    shown, targets, real = [], [], type(q.softmax).log_prob
    monkeypatch.setattr(type(q.network), "forward", lambda s, t, c, f=type(q.network).forward: (shown.append(t), f(s, t, c))[1])
    monkeypatch.setattr(type(q.softmax), "log_prob", lambda s, f, t: (targets.append(t), real(s, f, t))[1])
    Sequence(q.network, q.softmax, q.code, 5, word_dropout=1.0).log_prob(x)
    assert shown[0].tolist() == [[BOS, UNK, UNK, UNK]] * 3
    many = Sequence(q.network, q.softmax, q.code[:1], 5, word_dropout=0.3)
    long = torch.full((1, 4001), 5)
    long[0, -1] = EOS
    many.log_prob(long)
    hidden = (shown[1] == UNK).double().mean()
    assert abs(float(hidden) - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 4000)
    assert targets[0].tolist() == [4, 5, 4, EOS] * 3
    assert targets[1].tolist() == long[0].tolist()
