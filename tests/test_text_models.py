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
from vaekit.distributions.decoding import beam, draw, greedy, in_nucleus
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
        other.load_state_dict(
            {name + part: getattr(m, part) for name, m in names.items() for part in ("weight", "bias")}
        )
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
    forward = q.network.forward
    monkeypatch.setattr(q.network, "forward", lambda t, c: (shown.append(t), forward(t, c))[1])
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


@networks
@heads
@pytest.mark.parametrize("seed", range(3))
def test_beam_search_of_full_width_finds_the_best_sentence(network, softmax, tied, seed):
    q = sequence(network, softmax, tied, rows=4, length=4, seed=10 * seed)
    rows = sentences(4)
    log_p = q.log_prob(rows[:, None])
    found, score = beam(q, width=(SIZE - EOS) ** 3)
    assert torch.equal(found, rows[log_p.argmax(0)])
    assert_close(score, log_p.amax(0), rtol=0, atol=1e-12)


class Bigram:
    """A writer whose features are the last token alone."""

    def __call__(self, tokens, code):
        return nn.functional.one_hot(tokens, SIZE).double()

    def start(self, code):
        return (code,)

    def step(self, tokens, state):
        return self(tokens, None), state


def bigram(table, rows=1, length=4):
    """The language model with p(after | before) in `table` {before: {after: p}}; what is left out has 1e-9."""
    p = torch.full((SIZE, SIZE), 1e-9, dtype=torch.float64)
    for before, following in table.items():
        for after, value in following.items():
            p[before, after] = value
    head = make_softmax("full", SIZE, SIZE).double()
    with torch.no_grad():
        head.weight.copy_(p.log().T[EOS:])
        head.bias.zero_()
    return Sequence(Bigram(), head, torch.zeros(rows, 0, dtype=torch.float64), length)


def test_a_beam_sees_what_greedy_walks_past():
    """4 is the likelier beginning, 0.6 against 0.4, but [4 EOS] has 0.6 * 0.34 and [5 EOS] has 0.4 * 0.95."""
    q = bigram({BOS: {4: 0.6, 5: 0.4}, 4: {EOS: 0.34, 4: 0.33, 5: 0.33}, 5: {EOS: 0.95, 4: 0.05}}, rows=2)
    assert greedy(q).tolist() == [[4, EOS, PAD, PAD]] * 2
    found, score = beam(q, 1)
    assert found.tolist() == [[4, EOS, PAD, PAD]] * 2
    assert_close(score.exp(), torch.full((2,), 0.6 * 0.34, dtype=torch.float64), rtol=1e-7, atol=0)
    found, score = beam(q, 2)
    assert found.tolist() == [[5, EOS, PAD, PAD]] * 2
    assert_close(score.exp(), torch.full((2,), 0.4 * 0.95, dtype=torch.float64), rtol=1e-7, atol=0)


@networks
@pytest.mark.parametrize("width", [1, 3])
def test_a_beams_score_is_its_sentences_log_p(network, width):
    q = sequence(network, rows=60, length=6, seed=3)
    found, score = beam(q, width)
    assert (found == EOS).any(-1).all()
    assert_close(q.log_prob(found), score, rtol=0, atol=1e-12)
    assert (beam(q, 300)[1] >= score).all()  # 3^5 beginnings: exhaustive
    written = greedy(q)
    over = (written == EOS).any(-1)
    assert (score[over] >= q.log_prob(written)[over] - 1e-12).all()


def test_rows_are_decoded_in_parts_that_fit(monkeypatch):
    q = sequence(rows=7)
    whole = greedy(q), *beam(q, 2)
    monkeypatch.setattr("vaekit.distributions.decoding.LOGITS", 4 * SIZE)
    for one, other in zip((greedy(q), *beam(q, 2)), whole, strict=True):
        assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("network", "seed"), [("lstm", 2), ("transformer", 1)])  # where some sentences end
def test_greedy_takes_the_best_token_at_each_step(network, seed):
    q = sequence(network, rows=20, length=6, seed=seed)
    written = greedy(q)
    assert torch.equal(written, point_of(q))
    assert torch.equal(q.guesses(written), written)
    assert (written == EOS).any()
    for row in written.tolist():
        said = row[: row.index(EOS) + 1] if EOS in row else row
        assert PAD not in said
        assert set(row[len(said) :]) <= {PAD}


def by_rule(q, temperature, nucleus):
    """Probability of every sentence or beginning of three tokens when each token is drawn by the rule, from first principles."""
    rows, wanted = sentences(3, cut=True), []
    for row in rows.tolist():
        total, said = 1.0, [t for t in row if t != PAD]
        for t, token in enumerate(said):
            tries = torch.tensor([[*said[:t], u] for u in WRITABLE])
            p = q.log_prob_per_token(tries)[:, -1].exp().detach().numpy() ** (1 / temperature)
            p = p / p.sum()
            order = np.argsort(-p)
            kept = order[: int(np.searchsorted(np.cumsum(p[order]), nucleus)) + 1]
            index = WRITABLE.index(token)
            total *= p[index] / p[kept].sum() if index in kept else 0.0
        wanted.append(total)
    return rows, np.array(wanted)


@pytest.mark.parametrize(
    ("network", "temperature", "nucleus"),
    [("lstm", 1, 1), ("transformer", 1, 1), ("lstm", 0.6, 1), ("lstm", 1.7, 1), ("lstm", 1, 0.7), ("lstm", 0.8, 0.5)],
)
def test_sentences_are_drawn_with_their_probabilities(network, temperature, nucleus):
    q, n = sequence(network, rows=1, length=3, seed=6), 8_000
    rows, wanted = by_rule(q, temperature, nucleus)
    assert wanted.sum() == pytest.approx(1)
    many = Sequence(q.network, q.softmax, q.code.expand(n, -1), 3)
    drawn = draw(many, temperature=temperature, nucleus=nucleus, generator=torch.Generator().manual_seed(1))
    counts = (drawn[:, None] == rows).all(-1).sum(0).numpy()
    assert counts.sum() == n
    assert (np.abs(counts - n * wanted) <= 5 * np.sqrt(n * wanted * (1 - wanted)) + 1e-9).all()


def test_the_nucleus_is_the_fewest_tokens_that_reach_its_mass():
    log_p = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64).log()
    for mass, kept in (
        (0.35, [[0], [3]]),
        (0.6, [[0, 1], [2, 3]]),
        (0.8, [[0, 1, 2], [1, 2, 3]]),
        (1.0, [range(4)] * 2),
    ):
        p = in_nucleus(log_p, mass).exp()
        assert_close(p.sum(-1), torch.ones(2, dtype=torch.float64))
        for row, full, wanted in zip(p, log_p.exp(), kept, strict=True):
            assert row.nonzero()[:, 0].tolist() == list(wanted)
            assert_close(row[wanted] / row[wanted[0]], full[wanted] / full[wanted[0]])
    assert in_nucleus(log_p, 1e-9).exp().amax(-1).tolist() == [1, 1]


def test_sampling_has_the_shape_asked_for_and_leaves_word_dropout_out():
    q = sequence(rows=3)
    noisy = Sequence(q.network, q.softmax, q.code, 5, word_dropout=1.0)
    torch.manual_seed(0)
    one = noisy.sample((2,))
    torch.manual_seed(0)
    assert torch.equal(q.sample((2,)), one)
    assert one.shape == (2, 3, 5)
    assert q.sample().shape == (3, 5)
    assert sequence(dim=0).sample((2,)).shape == (2, 3, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q: draw(q, temperature=0), "temperature 0: expected a number above 0"),
        (lambda q: draw(q, nucleus=1.5), r"nucleus 1.5: expected a probability above 0 and at most 1"),
        (lambda q: draw(q, nucleus=0.0), "nucleus 0.0: expected a probability"),
        (lambda q: beam(q, 0), "beam width 0: expected at least 1"),
        (
            lambda q: greedy(torch.distributions.Normal(0.0, 1.0)),
            "greedy: writes sentences; expected a Sequence.*got Normal",
        ),
        (lambda q: make_softmax("half", 4, 6), "softmax 'half': expected full or adaptive"),
        (lambda q: make_softmax("adaptive", 4, 6, nn.Embedding(6, 4)), "softmax adaptive: .* cannot be tied"),
        (lambda q: make_softmax("adaptive", 3, 6), "softmax adaptive: a decoder of width 3; expected at least 4"),
        (lambda q: make_softmax("adaptive", 4, 4), "softmax adaptive: 4 tokens make no clusters; expected at least 5"),
    ],
)
def test_wrong_wishes_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call(sequence())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[4.0, 2.0]], "Sequence: expected whole token numbers, got torch.float32"),
        ([[4, 6, 2]], "Sequence: expected token numbers from 0 to 5, got 2 to 6"),
        ([[-1, 2]], "Sequence: expected token numbers from 0 to 5, got -1 to 2"),
        ([[BOS, 4, 2]], "Sequence: token 1 begins a sentence"),
        ([[4, PAD, 5, 2]], "Sequence: tokens behind the end"),
        ([[4, 2, 5, 2]], "Sequence: tokens behind the end"),
    ],
)
def test_what_is_no_sentence_is_refused(rows, message):
    with pytest.raises(DataError, match=message):
        sequence(rows=1).log_prob(torch.tensor(rows))


LINES = ["we go", "they come here", "we stay", "they go there now", "go", "you come", "we come there", "come here now"]


def text(length=7, labelled=False):
    """A schema and a split of `LINES`, with labels by whether there is a "they"."""
    vocabulary = Vocabulary.of(LINES)
    tokens = vocabulary.encode(LINES)
    rows = torch.tensor([row + [EOS] + [PAD] * (length - len(row) - 1) for row in tokens], dtype=torch.int32)
    labels = torch.tensor([int("they" in line) for line in LINES]) if labelled else None
    classes = ("others", "they") if labelled else None
    split = vk.Split(rows, labels, lengths=torch.tensor([len(row) + 1 for row in tokens]))
    return vk.Schema("text", (length,), classes=classes, vocabulary=vocabulary.to_json()), split


SMALL = {"embedding_dim": 5, "decoder_dim": 6}
MODELS = {
    "lm": lambda schema, **more: vk.models.text_lm(schema, **SMALL, **more),
    "vae": lambda schema, **more: vk.models.text_vae(schema, latent_dim=2, encoder_dim=6, **SMALL, **more),
    "autoencoder": lambda s, **more: vk.models.text_autoencoder(s, latent_dim=2, encoder_dim=6, **SMALL, **more),
}


def test_a_language_models_log_likelihood_is_exact_with_one_draw():
    schema, split = text()
    model = MODELS["lm"](schema).double().eval()
    x = split.rows(slice(None))
    exact = model.decode(torch.zeros(len(x), 0, dtype=torch.float64)).log_prob(x)
    drawn = model.draw(x, samples=3)
    assert torch.equal(drawn.log_w, exact.expand(3, -1))
    assert torch.equal(drawn.kl, torch.zeros(len(x), dtype=torch.float64))
    assert torch.equal(drawn.log_qz, torch.zeros(3, len(x), dtype=torch.float64))
    for samples in (1, 5):
        found = vk.evaluation.log_likelihood_per_example(model, split, samples=samples)
        assert_close(found, exact.detach(), rtol=0, atol=1e-12)
    assert model.encode(x).shape == (len(LINES), 0)


def test_every_draw_of_a_language_model_costs_one(monkeypatch):
    schema, split = text()
    model, rows = MODELS["lm"](schema).eval(), []
    network = model.decoder.network
    monkeypatch.setattr(network, "forward", lambda t, c, f=network.forward: (rows.append(len(t)), f(t, c))[1])
    model.draw(split.rows(slice(None)), samples=50)
    assert rows == [len(LINES)]


def test_bits_of_a_posterior_do_not_depend_on_padding():
    schema, split = text()
    model = MODELS["vae"](schema).double()
    x = split.rows(slice(None))
    wide = torch.nn.functional.pad(x, (0, 4))
    assert row_seeds(x, 3) == row_seeds(wide, 3)
    whole = vk.evaluation.log_likelihood_per_example(model, split, samples=4)
    for i in range(len(LINES)):
        one = vk.Split(split.values[i : i + 1], lengths=split.lengths[i : i + 1])
        alone = vk.evaluation.log_likelihood_per_example(model, one, samples=4)
        assert_close(alone[0], whole[i], rtol=0, atol=1e-10)


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.5, 3.0])
def test_a_minimum_rate_is_kept_whatever_the_encoder_says(rate):
    family, prior = DiagonalGaussian(3, rate).double(), vk.models.text_vae(text()[0], latent_dim=3).prior.double()
    raw = torch.linspace(-60, 60, 241, dtype=torch.float64)
    raws = torch.stack(torch.meshgrid(torch.tensor([0.0, 1.5], dtype=torch.float64), raw, indexing="ij")).flatten(1)
    kl = closed_kl_per_dim(family(raws.T[..., None].expand(-1, 2, 3)), prior())
    assert kl.min() == pytest.approx(rate, rel=1e-9)  # reached, and never passed
    assert (kl >= rate * (1 - 1e-9)).all()


def test_no_minimum_rate_is_the_usual_posterior():
    raw = torch.randn(5, 2, 3)
    one, other = DiagonalGaussian(3)(raw), DiagonalGaussian(3, 0.0)(raw)
    assert torch.equal(one.base_dist.scale, other.base_dist.scale)
    assert DiagonalGaussian(3).high == 8.0


@pytest.mark.parametrize("rate", [-0.1, 7.0, math.nan])
def test_a_minimum_rate_that_cannot_be_is_refused(rate):
    with pytest.raises(UsageError, match=r"minimum_rate .*: expected nats per latent dimension, from 0 to below 7"):
        MODELS["vae"](text()[0], minimum_rate=rate)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": "gru"}, "network 'gru': expected lstm or transformer"),
        ({"dropout": 1.0}, "dropout 1.0: expected a part, from 0 to 0.99"),
        ({"word_dropout": 1.2}, "word_dropout 1.2: expected a part, from 0 to 1"),
        ({"latent_dim": 0}, "latent_dim 0: expected at least 1"),
        ({"encoder_dim": 0}, "encoder_dim 0: expected at least 1"),
        ({"conditional": True}, "model text-vae: these data have no labels"),
        ({"softmax": "adaptive", "tied": True}, "softmax adaptive: .* cannot be tied"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises((UsageError, DataError), match=message):
        vk.models.text_vae(text()[0], **arguments)


def test_word_dropout_and_dropout_act_in_training_only():
    schema, split = text()
    model, x = MODELS["vae"](schema, word_dropout=0.9, dropout=0.5), split.rows(slice(None))
    z = torch.zeros(len(x), 2)
    assert not torch.equal(model.decode(z).log_prob(x), model.decode(z).log_prob(x))
    model.eval()
    assert model.decode(z).word_dropout == 0
    assert torch.equal(model.decode(z).log_prob(x), model.decode(z).log_prob(x))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "more", [{}, {"tied": True, "network": "transformer"}, {"softmax": "adaptive", "conditional": True}]
)
def test_a_saved_model_says_the_same(tmp_path, name, more):
    schema, split = text(labelled=True)
    model = MODELS[name](schema, **more).eval()
    vk.save_run(tmp_path / "run", model)
    again = vk.load_run(tmp_path / "run").model
    x, c = split.rows(slice(None)), split.condition(slice(None), model.condition_dim)
    z = model.encode(x, c)
    assert torch.equal(again.encode(x, c), z)
    assert torch.equal(again.decode(z, c).log_prob(x), model.decode(z, c).log_prob(x))
    assert torch.equal(again.reconstruct(x, c), model.reconstruct(x, c))


def test_tied_weights_are_one_tensor():
    schema, _ = text()
    tied, free = (MODELS["lm"](schema, tied=t) for t in (True, False))
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == (
        (schema.text.size - EOS) * 6 - 6 * 5
    )
    with torch.no_grad():
        tied.decoder.network.embedding.weight[EOS].fill_(50.0)
    p = tied.double().decode(torch.zeros(1, 0, dtype=torch.float64))
    features = torch.ones(1, 6, dtype=torch.float64)
    logits = (tied.decoder.network.embedding.weight @ tied.decoder.softmax.narrow(features)[0])[EOS:]
    assert_close(p.softmax.log_probs(features)[0, EOS:], (logits + p.softmax.bias).log_softmax(0))


def test_a_condition_is_heard():
    """After a short training the label says how a sentence begins, and likelihoods are those given the label."""
    schema, split = text(labelled=True)
    torch.manual_seed(0)
    model = vk.models.text_vae(
        schema, latent_dim=2, conditional=True, embedding_dim=16, encoder_dim=16, decoder_dim=16, dropout=0.0
    )
    vk.fit(model, split, epochs=80, batch_size=8, learning_rate=0.02, progress=False)
    words = schema.text.tokens
    for label, name in enumerate(schema.classes):
        drawn = model.sample(200, schema.condition(name).expand(200, -1), noise=True)
        they = (drawn == words.index("they")).any(-1).double().mean()
        assert they > 0.9 if label else they < 0.1
    told = vk.evaluation.log_likelihood(model, split, samples=20).value
    wrong = vk.Split(split.values, 1 - split.labels, lengths=split.lengths)
    assert told > vk.evaluation.log_likelihood(model, wrong, samples=20).value + 2


@pytest.mark.parametrize("keywords", [{"noise": 0.1}, {"contractive": 0.1}])
def test_sentences_have_no_values_to_be_moved(keywords):
    schema, split = text()
    with pytest.raises(UsageError, match="sentences"):
        vk.reconstruction(MODELS["autoencoder"](schema), vk.Batch(split.rows(slice(None))), **keywords)


@pytest.mark.parametrize(("name", "second"), [("autoencoder", "mixture"), ("vae", "flow")])
def test_a_second_stage_is_fitted_to_codes_of_sentences(name, second):
    """What `sample_codes` draws then lies where the codes are."""
    schema, split = text(labelled=True)
    torch.manual_seed(0)
    model = MODELS[name](schema, second_stage=second, prior_components=1, conditional=second == "flow")
    x, c = split.rows(slice(None)), split.condition(slice(None), model.condition_dim)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(3)
    vk.fit_prior(model, split)
    codes = model.encode(x, c)
    told = None if c is None else c[:1].expand(500, -1)
    drawn = model.sample_codes(500, told)
    near = codes if c is None else codes[c[:, 0] == c[0, 0]]
    assert (drawn.mean(0) - near.mean(0)).abs().max() < 1.0
    assert model.sample(4, None if told is None else told[:4]).shape == (4, 7)


@heads
def test_mixed_precision_stays_near_full(softmax, tied):
    schema, split = text()
    torch.manual_seed(0)
    model = vk.models.text_lm(schema, **SMALL, softmax=softmax, tied=tied).eval()
    x = split.rows(slice(None))
    full = model.draw(x).log_px
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.draw(x).log_px
    assert_close(mixed.float(), full, rtol=0.02, atol=0)


@heads
def test_chunks_in_mixed_precision_have_the_same_gradients(monkeypatch, softmax, tied):
    """The way back leaves the context of mixed precision before it computes a chunk again."""
    schema, split = text()
    torch.manual_seed(0)
    model, x, gradients = vk.models.text_lm(schema, **SMALL, softmax=softmax, tied=tied), split.rows(slice(None)), []
    for logits in (2**25, 2 * schema.text.size):
        monkeypatch.setattr(sequence_file, "LOGITS", logits)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = -model.eval().draw(x).log_px.sum()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, rtol=0.05, atol=0.05 * float(one.abs().max()))


def test_a_frozen_softmax_in_chunks_lets_the_encoder_learn(monkeypatch):
    schema, split = text()
    model, x = MODELS["vae"](schema).double(), split.rows(slice(None))
    model.decoder.softmax.requires_grad_(False)
    gradients = []
    for logits in (2**25, 2 * schema.text.size):
        monkeypatch.setattr(sequence_file, "LOGITS", logits)
        torch.manual_seed(0)
        model.eval()
        gradients.append(torch.autograd.grad(model.draw(x).log_px.sum(), list(model.encoder.parameters())))
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, rtol=0, atol=1e-12)
        assert one.abs().max() > 0


@pytest.mark.parametrize("name", MODELS)
def test_rows_that_are_no_sentences_are_refused(name):
    schema, split = text()
    model, numbers = MODELS[name](schema), split.values.float()
    with pytest.raises(DataError, match="fit: the model is for sentences, the rows are numbers"):
        vk.fit(model, numbers, progress=False)
    with pytest.raises(DataError, match=r"expected whole token numbers, got torch.float32"):
        model.draw(numbers)
    other = vk.load([line.upper() for line in LINES] * 2, max_length=7)
    with pytest.raises(DataError, match="fit: the model was made with another vocabulary"):
        vk.fit(model, vk.Dataset(other.schema, split), progress=False)


@networks
def test_log_likelihood_of_a_vae_is_the_integral_over_its_code(network):
    schema, split = text()
    torch.manual_seed(0)
    model = vk.models.text_vae(schema, latent_dim=1, encoder_dim=6, network=network, **SMALL)
    loud(model.decoder, seed=5)
    model.double().eval()
    z = torch.linspace(-8, 8, 801, dtype=torch.float64)[:, None, None].expand(-1, len(LINES), 1)
    x = split.rows(slice(None))
    with torch.no_grad():
        values = model.decode(z).log_prob(x) + model.prior().log_prob(z)
    exact = values.logsumexp(0) + math.log(16 / 800)
    assert values.std(0).min() > 0.1
    found = vk.evaluation.log_likelihood_per_example(model, split, samples=4000)
    assert_close(found, exact, rtol=0, atol=0.1)
