"""The objective on the command line: its options, its schedules, and its line of the plan."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vaekit.cli.options import Parser, add_options, keywords_of
from vaekit.cli.players import game_line
from vaekit.errors import UsageError
from vaekit.objectives import OBJECTIVES, Terms
from vaekit.training import schedules
from vaekit.updates import Schedule

Options = dict[str, Any]

FROM_DATA = ("dataset_size", "labelled_share")
"""Keywords that are known from the data and hence no options."""

_WEIGHTS = ("beta", "gamma")


def add_objective_options(parser: Parser, name: str) -> None:
    """The options of an objective; those with a weight of the KL may move it: --warm-up and --cycles."""
    function = OBJECTIVES[name]
    add_options(parser, function, f"objective {name}", only=_own(function))
    weight = _weight(function)
    if weight is None:
        return
    moved = f"{weight} (or a capacity that is set)" if "capacity" in _own(function) else weight
    parser.add_argument(
        "--warm-up", type=int, default=0, help=f"epochs over which {moved} rises from 0 to its value (default: 0)"
    )
    parser.add_argument(
        "--cycles",
        type=int,
        default=0,
        help=f"divide the training into so many cycles, in each of which {weight} rises from 0 over the first half "
        "(Fu et al., 2019; default: 0)",
    )


def check_schedule(options: Options) -> None:
    """Raise UsageError where --warm-up and --cycles cannot be right for the length of the run."""
    warm_up, cycles, epochs = options.get("warm_up", 0), options.get("cycles", 0), options["epochs"]
    if not 0 <= warm_up <= epochs:
        weight = _weight(OBJECTIVES[options["objective"]])
        raise UsageError(
            f"--warm-up {warm_up}: expected 0 to {epochs} epochs, the length of the run; a longer one would never reach "
            f"{weight}"
        )
    if not 0 <= cycles <= epochs:
        raise UsageError(f"--cycles {cycles}: expected 0 to {epochs}, at most one for each epoch of the run")
    if cycles and (warm_up or options.get("capacity") is not None):
        raise UsageError("--cycles: goes with neither --warm-up nor --capacity; leave one out")


def check_no_code(options: Options) -> None:
    """Raise UsageError for an option of the KL, or of draws of the code, where a model has no code."""
    usual = (OBJECTIVES[options["objective"]].__kwdefaults__ or {}) | {"warm_up": 0, "cycles": 0}
    for name, value in usual.items():
        if options.get(name, value) != value:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} {options[name]}: {options['model']} has no code, and so no KL; leave it out")


def objective_of(options: Options, rows: int) -> Callable[..., Terms]:
    """The objective with the options' keywords, for a training split of so many rows."""
    function = OBJECTIVES[options["objective"]]
    known = {"dataset_size": rows} if "dataset_size" in keywords_of(function) else {}
    return partial(function, **{key: options[key] for key in _own(function)}, **known)


def schedules_of(options: Options, steps: int) -> dict[str, Schedule]:
    """What --warm-up and --cycles move, over epochs of so many `steps`."""
    weight = "capacity" if options.get("capacity") is not None else _weight(OBJECTIVES[options["objective"]])
    if weight is None:
        return {}
    if options["warm_up"]:
        return {weight: schedules.linear(0.0, options[weight], options["warm_up"] * steps)}
    if options["cycles"]:  # not whole steps: what is left over would begin another cycle at the end
        return {weight: schedules.cyclical(0.0, options[weight], options["epochs"] * steps / options["cycles"])}
    return {}


def objective_line(options: Options) -> str:
    """The objective in one line: the effective weight of the KL, or the bound."""
    describe = _LINES.get(options["objective"])
    if describe is None:
        own = _own(OBJECTIVES[options["objective"]])
        return " · ".join([options["objective"], *(f"{key} {options[key]}" for key in own)])
    return describe(options) + _moving(options)


def _own(function: Callable[..., Any]) -> list[str]:
    return [name for name in keywords_of(function) if name not in FROM_DATA]


def _weight(function: Callable[..., Any]) -> str | None:
    return next((name for name in _WEIGHTS if name in keywords_of(function)), None)


def _moving(options: Options) -> str:
    if options.get("warm_up"):
        what = "capacity" if options.get("capacity") is not None else _weight(OBJECTIVES[options["objective"]])
        return f" · {what} risen from 0 over the first {options['warm_up']} epochs"
    if options.get("cycles"):
        return f" · {_weight(OBJECTIVES[options['objective']])} in {options['cycles']} cycles from 0"
    return ""


def _gradient(options: Options) -> str:
    kind = "" if options["gradient"] == "reparameterised" else f"{options['gradient']} "
    if options.get("resampled"):
        return f" · {kind}gradient through {options['resampled']} of them, drawn by weight"
    return f" · {kind}gradient" if kind else ""


def _elbo(o: Options) -> str:
    charge = "" if o["capacity"] is None else f" on |rate - {o['capacity']:g}|"
    free = f" · {o['free_bits']:g} nats free per {_free(o)}" if o["free_bits"] else ""
    beta = f"effective beta {o['beta']:g}{charge}"
    return f"elbo in nats, summed over dimensions: {beta} · L = {o['samples']} · KL {_kl(o)}{free}{_gradient(o)}"


def _free(o: Options) -> str:
    over = "the mean over the batch" if o["free_bits_over"] == "batch" else "each example"
    return f"{o['free_bits_per']} of {over}"


def _kl(o: Options) -> str:
    """How the KL is taken: some posteriors and priors have no closed form."""
    if o["kl"] != "auto":
        return str(o["kl"])
    closed = ("normal", "uniform", "conditional")
    known = o.get("posterior", "diagonal") != "flow" and o.get("prior", "normal") in closed
    return "sampled" if o["gradient"] == "path" else "closed" if known else "sampled (it has no closed form)"


def _iwae(o: Options) -> str:
    return f"iwae: the bound of K = {o['samples']} draws{_gradient(o)}"


def _miwae(o: Options) -> str:
    return f"miwae: the mean of M = {o['groups']} bounds of K = {o['samples']} draws{_gradient(o)}"


def _ciwae(o: Options) -> str:
    part = o["elbo_part"]
    return f"ciwae: {part:g} ELBO + {1 - part:g} the bound of K = {o['samples']} draws"


def _piwae(o: Options) -> str:
    m, k = o["groups"], o["samples"]
    return f"piwae: decoder by the bound of {m * k} draws, encoder by the mean of M = {m} bounds of K = {k}"


def _renyi(o: Options) -> str:
    return f"renyi: the bound of order alpha = {o['alpha']:g} on K = {o['samples']} draws"


def _beta_tc(o: Options) -> str:
    parts = f"{o['information']:g} MI + {o['beta']:g} TC + {o['dimensions']:g} KL of each dimension"
    return f"beta_tc in nats: distortion + {parts} · L = {o['samples']} · {o['sampling']} sampling of q(z)"


def _mmd(o: Options) -> str:
    kernel = f"{o['kernel']} kernel, bandwidth {o['bandwidth']:g}"
    return f"mmd: effective beta {o['beta']:g} + {o['weight']:g} MMD²(q(z), p(z)) · {kernel}"


def _factor(o: Options) -> str:
    return (
        f"factor in nats: effective beta 1 + gamma {o['gamma']:g} · TC by a critic · L = {o['samples']} · KL {o['kl']}"
    )


def _semisupervised(o: Options) -> str:
    return (
        f"semisupervised in nats: {o['bound']} of labelled and unlabelled rows (every class summed), L = {o['samples']} · "
        f"{o['alpha']:g} cross-entropy of the labelled rows"
    )


def _reconstruction(o: Options) -> str:
    extra = [f"input noise {o['noise']:g} ({o['corruption']})"] if o["noise"] else []
    extra += [f"{o['l1']:g} |z|"] if o["l1"] else []
    extra += [f"{o['contractive']:g} |dz/dx|²"] if o["contractive"] else []
    return " · ".join(["reconstruction: -log p(x|z), no KL (effective beta 0)", *extra])


def _vq(o: Options) -> str:
    book = "codebook term" if o.get("quantiser") == "vq" and o.get("codebook") == "gradient" else ""
    binding = "" if o.get("quantiser") == "fsq" else f"{o['commitment']:g} commitment"
    return (
        " + ".join(filter(None, ["vq: -log p(x|z)", book, binding])) + ", summed over each example; no KL in the loss"
    )


_LINES: dict[str, Callable[[Options], str]] = {
    "elbo": _elbo,
    "iwae": _iwae,
    "miwae": _miwae,
    "ciwae": _ciwae,
    "piwae": _piwae,
    "renyi": _renyi,
    "beta_tc": _beta_tc,
    "mmd": _mmd,
    "factor": _factor,
    "reconstruction": _reconstruction,
    "vq": _vq,
    "adversarial": game_line,
    "wasserstein": game_line,
    "semisupervised": _semisupervised,
}
