"""The plan that `vaekit train` prints before it starts."""

from __future__ import annotations

from typing import Any

import torch

from vaekit.cli.objective import objective_line
from vaekit.cli.players import player_parts
from vaekit.cli.texts import text_line, writer_parts
from vaekit.data import Dataset
from vaekit.models import LatentModel, Model
from vaekit.models.aae import AAE
from vaekit.models.factorvae import FactorVAE
from vaekit.models.gan import GAN
from vaekit.models.layers import TopDown
from vaekit.models.m2 import M2
from vaekit.models.vaegan import VAEGAN
from vaekit.models.vqvae import VQVAE
from vaekit.networks import choose_network
from vaekit.training.denormals import threads_for


def plan_lines(data: Dataset, model: Model, options: dict[str, Any], out: str) -> list[tuple[str, str]]:
    """(heading, text) for data, model, objective, training and the run's folder."""
    return [
        ("data", _data(data)),
        ("model", _model(data, model, options)),
        ("objective", objective_line(options)),
        ("training", _training(model, options)),
        ("run", out),
    ]


def _data(data: Dataset) -> str:
    schema, source = data.schema, data.source
    if schema.kind == "text":
        return text_line(data)
    n = sum(len(split) for split in data.splits().values())
    noun = "images" if schema.kind == "image" else "vectors"
    values = (
        f"{schema.levels} levels in [0, 1]" if schema.levels else f"values in [{schema.low:.4g}, {schema.high:.4g}]"
    )
    if source.get("binarize", "none") != "none":
        values = f"binary, {source['binarize']} binarisation (fixed pixels from seed {source['binarize_seed']})"
    splits = " / ".join(f"{name} {len(split):,}" for name, split in data.splits().items())
    classes = f" · {len(schema.classes)} classes" if schema.classes else ""
    known = int(data.train.labelled.sum())
    classes += f", {known:,} training rows labelled" if schema.classes and known < len(data.train) else ""
    return f"{source['name']}: {n:,} {noun} {'×'.join(map(str, schema.shape))} · {values} · {splits}{classes}"


def _model(data: Dataset, model: Model, options: dict[str, Any]) -> str:
    parameters = sum(p.numel() for p in model.parameters())
    parts = [options["model"]]
    inner = model.vae if isinstance(model, FactorVAE) else model.given_class if isinstance(model, M2) else model
    if data.schema.kind == "text":
        parts += writer_parts(options)
    elif isinstance(inner, GAN | AAE | VAEGAN):
        parts += player_parts(inner, options, _likelihood(options) if "likelihood" in options else "")
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)  # not the average of others
    elif isinstance(inner, LatentModel | VQVAE):
        network = choose_network(options["network"], data.schema.shape)
        hidden = "-".join(map(str, options["hidden"])) or "linear"
        parts += [f"encoder {network} {hidden}", f"decoder {network} mirrored", f"likelihood {_likelihood(options)}"]
        parts += _quantised(inner, options) if isinstance(inner, VQVAE) else _codes(inner, options)
    parts += [f"{model.latent_dim} latent dimensions", f"{parameters:,} parameters"]
    return " · ".join(parts)


def _codes(model: LatentModel, options: dict[str, Any]) -> list[str]:
    """Posterior, prior and second stage in words; or the layers of a code that has several."""
    if isinstance(model.prior, TopDown):
        sizes = "-".join(map(str, model.prior.sizes))
        return [f"{len(model.prior.sizes)} layers of codes, {sizes} from the bottom up", "prior from the top down"]
    many = options.get("prior_components")
    prior = {
        "normal": "N(0, I)",
        "uniform": "uniform on a box",
        "mixture": f"mixture of {many} Gaussians",
        "vamp": f"vamp of {many} pseudo-inputs",
        "flow": "flow",
    }
    posterior = {"diagonal": "diagonal Gaussian", "full": "full-covariance Gaussian", "box": "truncated to the box"}
    named = options.get("posterior")
    parts = [] if named is None else [f"posterior {posterior.get(named, named)}"]
    parts.append("no prior" if model.prior is None else f"prior {prior[options.get('prior', 'normal')]}")
    second = options.get("second_stage", "none")
    many_more = f" of {many} Gaussians" if second == "mixture" else ""
    return (
        parts if second == "none" else [*parts, f"second stage {second}{many_more}, fitted to the codes after training"]
    )


def _quantised(model: VQVAE, options: dict[str, Any]) -> list[str]:
    """The codes of an example, how they are learned, and the prior over them."""
    n, levels, size = model.prior.positions, model.prior.levels, model.prior.size
    many = f"{n} positions" + (f" × {levels} levels" if levels > 1 else "") + f" of {size} values"
    how = "finite scalars" if options["quantiser"] == "fsq" else f"codebook by {options['codebook']}"
    prior = f"uniform, {model.prior.uniform_nats:.1f} nats"
    later = "" if model.prior.network is None else ", then autoregressive, fitted after training"
    return [f"codes: {many} ({how})", f"prior {prior}{later}"]


def _likelihood(options: dict[str, Any]) -> str:
    sigma = options.get("sigma")
    how = {"shared": "one learned scale", "element": "a scale per element", "optimal": "the optimal scale"}
    return options["likelihood"] + (f" ({how.get(sigma, f'scale {sigma}')})" if sigma is not None else "")


def _training(model: Model, options: dict[str, Any]) -> str:
    device = "accelerator" if options["device"] == "auto" and torch.accelerator.is_available() else "cpu"
    threads = threads_for(model, options["batch_size"]) or torch.get_num_threads()
    where = device if device != "cpu" else f"cpu, {threads} thread{'s' if threads > 1 else ''}"
    stopping = f" · patience {options['patience']}" if options["patience"] else ""
    clip = f" · gradient clip {options['gradient_clip']:g}" if options["gradient_clip"] else ""
    kind = options["optimizer"].capitalize()
    decay = "" if options["learning_rate_decay"] == "none" else f" ({options['learning_rate_decay']} to 0)"
    return _remedies(options) + (
        f"{_length(options)} · batch {options['batch_size']} · {kind} {options['learning_rate']:g}{decay}"
        f"{stopping}{clip} · seed {options['seed']} · {where}"
    )


def _remedies(options: dict[str, Any]) -> str:
    """What is done to the encoder before or beside the training, each followed by a divider."""
    before = f"{options['pretrain']} epochs as an autoencoder, decoder reset · " if options["pretrain"] else ""
    beside = (
        f"up to {options['aggressive']} encoder steps a decoder step while information rises · "
        if options["aggressive"]
        else ""
    )
    return before + beside


def _length(options: dict[str, Any]) -> str:
    return f"{options['epochs']} epochs" if options["seconds"] is None else f"{options['seconds']:g} s of steps"
