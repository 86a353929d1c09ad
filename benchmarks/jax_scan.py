"""The same training as `contestants.py`'s bare loop, every epoch one compiled `lax.scan` of JAX; `training.py` starts it.

Only JAX, NumPy and `contest.py` are imported: it runs where nothing else is installed.
"""

from __future__ import annotations

import itertools
import sys
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from contest import BATCH, LEARNING_RATE, PIXELS, arguments, tell

Layers = list[tuple[jax.Array, jax.Array]]


def layers(widths: list[int], rng: np.random.Generator) -> Layers:
    """Weights and biases, uniform within 1 / sqrt(inputs) as torch starts them."""
    made = []
    for width_in, width_out in itertools.pairwise(widths):
        w, b = (rng.uniform(-1, 1, shape) / width_in**0.5 for shape in ((width_in, width_out), (width_out,)))
        made.append((jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32)))
    return made


def forward(network: Layers, h: jax.Array) -> jax.Array:
    """Linear layers with a ReLU between them."""
    for at, (w, b) in enumerate(network):
        h = h @ w + b
        h = jax.nn.relu(h) if at + 1 < len(network) else h
    return h


def loss(parameters: tuple[Layers, Layers], x: jax.Array, key: jax.Array) -> jax.Array:
    """Minus the ELBO, the mean over the batch, in nats."""
    encoder, decoder = parameters
    mean, log_variance = jnp.split(forward(encoder, x), 2, -1)
    z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
    logits = forward(decoder, z)
    distortion = jnp.sum(jax.nn.softplus(logits) - x * logits)
    rate = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance))
    return (distortion + rate) / len(x)


def adam(state: Any, slopes: Any) -> Any:
    """One step of Adam on (parameters, first moments, second moments, steps)."""
    parameters, first, second, step = state
    step = step + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slopes)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, slopes)
    rate, scale = LEARNING_RATE / (1 - 0.9**step), 1 / (1 - 0.999**step)
    moved = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v * scale) + 1e-8), parameters, first, second)
    return moved, first, second, step


@partial(jax.jit, donate_argnums=0)
def epoch(state: Any, x: jax.Array, key: jax.Array) -> Any:
    """All full batches of the rows in a new order."""
    batches = len(x) // BATCH
    order, noise = jax.random.split(key)
    rows = jax.random.permutation(order, len(x))[: batches * BATCH].reshape(batches, BATCH)

    def step(state: Any, given: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        at, key = given
        value, slopes = jax.value_and_grad(loss)(state[0], x[at], key)
        return adam(state, slopes), value

    return jax.lax.scan(step, state, (rows, jax.random.split(noise, batches)))


def train(x: jax.Array, hidden: list[int], latent: int, epochs: int) -> list[float]:
    """Seconds of every epoch, as if the rows that fill no batch took their share."""
    rng = np.random.default_rng(0)
    parameters = layers([PIXELS, *hidden, 2 * latent], rng), layers([latent, *hidden[::-1], PIXELS], rng)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = parameters, zeros, jax.tree.map(jnp.zeros_like, parameters), jnp.zeros(())
    seconds = []
    for number in range(epochs):
        begin = time.perf_counter()
        state, values = epoch(state, x, jax.random.key(number))
        last = float(values[-100:].mean())
        seconds.append((time.perf_counter() - begin) * len(x) / (len(x) // BATCH * BATCH))
        print(f"epoch {number}: loss {last:.2f}", file=sys.stderr, flush=True)
    return seconds


def main() -> None:
    """Train, and print seconds and peak memory."""
    options = arguments(__doc__, ["jax"])
    x = jnp.asarray(np.load(options.pixels), jnp.float32)
    seconds = train(x, options.hidden, options.latent, options.epochs)
    tell(seconds, jax=jax.__version__)


if __name__ == "__main__":
    main()
