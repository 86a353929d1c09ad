"""Models of sentences: a language model, an autoencoder and a variational autoencoder with the same decoder.

Bowman, Vilnis, Vinyals, Dai, Jozefowicz & Bengio, "Generating sentences from a continuous space", CoNLL 2016; Razavi, van
den Oord, Poole & Vinyals, "Preventing posterior collapse with delta-VAEs", ICLR 2019.

    p(x | z) = prod_t softmax(W h_t)[x_t],   h_t = decoder(x_1 ... x_{t-1}, z)

    text-lm           log p(x) = log p(x | no code), exact
    text-autoencoder  z = encoder(x),   loss = -log p(x | z)
    text-vae          z ~ N(0, I),   q(z | x) = N(mu(x), diag sigma^2(x)),   log p(x) >= E_q log p(x | z) - KL(q(z | x), p(z))

The decoder predicts each word from the words before it, and can do so without z: then the VAE is a language model whose KL
is 0. So a text VAE is to be held against the language model, and there are remedies: `word_dropout` and `minimum_rate`
here, the others among the objectives and in training.

minimum_rate: KL(N(mu, s^2), N(0, 1)) >= (s^2 - 1 - log s^2) / 2, which is at least delta where s^2 is at most the smaller
root of s^2 - log s^2 = 1 + 2 delta. With that bound on the variance no dimension's KL can be below delta. (Razavi et al. bound the
variance of a code with one part a time step, and learn its prior; here there is one code, and the prior is N(0, I).)
"""

from __future__ import annotations

from vaekit.data.schema import Schema
from vaekit.distributions.posteriors import DiagonalGaussian, Point
from vaekit.models.base import LatentModel
from vaekit.models.parts import SecondStageName, check_latent_dim, condition_scale
from vaekit.models.recipes import recipe
from vaekit.models.sentences import NoCode, SoftmaxName, WriterName, make_text_coders, make_writer, told_size
from vaekit.objectives import elbo, reconstruction
from vaekit.priors import StandardNormal, make_second_stage

TRAINING = {"learning_rate": 3e-3, "batch_size": 32, "gradient_clip": 5.0}
"""How models of sentences are trained by default. On Penn Treebank 0.6 epochs of 32 sentences a step bring the language model
to 127.7 nats a sentence with a rate of 0.002 and to 120.5 with 0.005."""


@recipe(objective=elbo, name="text-vae", kinds=("text",), training=TRAINING)
def text_vae(
    schema: Schema,
    *,
    latent_dim: int = 32,
    minimum_rate: float = 0.0,
    second_stage: SecondStageName = "none",
    prior_components: int = 10,
    network: WriterName = "lstm",
    embedding_dim: int = 100,
    encoder_dim: int = 200,
    decoder_dim: int = 200,
    bidirectional: bool = False,
    dropout: float = 0.2,
    word_dropout: float = 0.0,
    tied: bool = False,
    softmax: SoftmaxName = "full",
    conditional: bool = False,
) -> LatentModel:
    """A VAE of sentences.

    Args:
        latent_dim: dimensions of the code.
        minimum_rate: nats that the KL of each latent dimension cannot go below, by a bound on the posterior's variance; 0
            for no such bound.
        second_stage: a prior that is fitted to the codes after training, and sampled from in place of p(z).
        prior_components: Gaussians of a mixture as second stage.
        network: the decoder's, lstm or transformer; the encoder is an LSTM.
        embedding_dim: length of a token's vector.
        encoder_dim: width of the encoder, of each of its two LSTMs where it is bidirectional.
        decoder_dim: width of the decoder.
        bidirectional: read a sentence from both ends.
        dropout: of token vectors and of the decoder's features, in training.
        word_dropout: part of the tokens before a token that the decoder is not shown, in training.
        tied: the softmax has the decoder's token vectors as its weights.
        softmax: full, or adaptive, which is faster with many thousand words and a model of its own.
        conditional: tell encoder and decoder the label of each sentence.
    """
    check_latent_dim(latent_dim)
    told = told_size(schema, conditional, "text-vae")
    encoder, decoder = make_text_coders(
        schema,
        DiagonalGaussian(latent_dim, minimum_rate),
        network=network,
        embedding_dim=embedding_dim,
        encoder_dim=encoder_dim,
        decoder_dim=decoder_dim,
        bidirectional=bidirectional,
        dropout=dropout,
        word_dropout=word_dropout,
        tied=tied,
        softmax=softmax,
        told=told,
    )
    scale = condition_scale(schema) if told else None
    second = make_second_stage(second_stage, latent_dim, prior_components, told, scale)
    return LatentModel(encoder, decoder, StandardNormal(latent_dim), latent_dim, second, told)


@recipe(objective=reconstruction, name="text-autoencoder", kinds=("text",), training=TRAINING)
def text_autoencoder(
    schema: Schema,
    *,
    latent_dim: int = 32,
    second_stage: SecondStageName = "none",
    prior_components: int = 10,
    network: WriterName = "lstm",
    embedding_dim: int = 100,
    encoder_dim: int = 200,
    decoder_dim: int = 200,
    bidirectional: bool = False,
    dropout: float = 0.2,
    word_dropout: float = 0.0,
    tied: bool = False,
    softmax: SoftmaxName = "full",
    conditional: bool = False,
) -> LatentModel:
    """An autoencoder of sentences: no prior, hence no log p(x).

    Args:
        latent_dim: dimensions of the code.
        second_stage: a distribution that is fitted to the codes after training, so that there is something to sample from.
        prior_components: Gaussians of a mixture as second stage.
        network: the decoder's, lstm or transformer; the encoder is an LSTM.
        embedding_dim: length of a token's vector.
        encoder_dim: width of the encoder, of each of its two LSTMs where it is bidirectional.
        decoder_dim: width of the decoder.
        bidirectional: read a sentence from both ends.
        dropout: of token vectors and of the decoder's features, in training.
        word_dropout: part of the tokens before a token that the decoder is not shown, in training.
        tied: the softmax has the decoder's token vectors as its weights.
        softmax: full, or adaptive, which is faster with many thousand words and a model of its own.
        conditional: tell encoder and decoder the label of each sentence.
    """
    check_latent_dim(latent_dim)
    told = told_size(schema, conditional, "text-autoencoder")
    encoder, decoder = make_text_coders(
        schema,
        Point(latent_dim),
        network=network,
        embedding_dim=embedding_dim,
        encoder_dim=encoder_dim,
        decoder_dim=decoder_dim,
        bidirectional=bidirectional,
        dropout=dropout,
        word_dropout=word_dropout,
        tied=tied,
        softmax=softmax,
        told=told,
    )
    scale = condition_scale(schema) if told else None
    second = make_second_stage(second_stage, latent_dim, prior_components, told, scale)
    return LatentModel(encoder, decoder, None, latent_dim, second, told)


@recipe(objective=elbo, name="text-lm", kinds=("text",), training=TRAINING)
def text_lm(
    schema: Schema,
    *,
    network: WriterName = "lstm",
    embedding_dim: int = 100,
    decoder_dim: int = 200,
    dropout: float = 0.2,
    tied: bool = False,
    softmax: SoftmaxName = "full",
    conditional: bool = False,
) -> LatentModel:
    """A language model: the decoder of `text-vae` without a code, whose log p(x) is exact.

    Args:
        network: lstm or transformer.
        embedding_dim: length of a token's vector.
        decoder_dim: width of the decoder.
        dropout: of token vectors and of the decoder's features, in training.
        tied: the softmax has the token vectors as its weights.
        softmax: full, or adaptive, which is faster with many thousand words and a model of its own.
        conditional: tell it the label of each sentence.
    """
    told = told_size(schema, conditional, "text-lm")
    decoder = make_writer(
        schema,
        0,
        network=network,
        embedding_dim=embedding_dim,
        decoder_dim=decoder_dim,
        dropout=dropout,
        word_dropout=0.0,
        tied=tied,
        softmax=softmax,
        told=told,
    )
    return LatentModel(NoCode(), decoder, StandardNormal(0), 0, condition_dim=told)
