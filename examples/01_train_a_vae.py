"""Train a VAE on real digits and ask it for numbers that can be trusted.

python examples/01_train_a_vae.py
"""

from functools import partial

import vaekit as vk

data = vk.load("digits")
print(data.schema)

model = vk.models.vae(data.schema, latent_dim=8)
history = vk.fit(model, data, objective=vk.elbo, epochs=20, batch_size=64)
print(f"validation ELBO {history['validation_elbo'][0]:.1f} -> {history['validation_elbo'][-1]:.1f} nats")

# every figure is an Estimate: value, standard error, n, unit, estimator, samples
elbo = vk.evaluation.elbo(model, data.test)["elbo"]
log_px = vk.evaluation.log_likelihood(model, data.test, samples=500)
print(f"ELBO     {elbo}\nlog p(x) {log_px}")
assert elbo.value < log_px.value, "the ELBO is a lower bound"

# an objective is a function; a variant of it is a keyword
weighted = vk.models.vae(data.schema, latent_dim=8)
vk.fit(weighted, data, objective=partial(vk.elbo, beta=4.0), epochs=20, batch_size=64)
rates = [vk.evaluation.elbo(m, data.test)["kl"].value for m in (model, weighted)]
print(f"rate at beta 1: {rates[0]:.1f} nats, at beta 4: {rates[1]:.1f} nats")
assert rates[1] < rates[0], "a heavier rate is used less"

samples = model.sample(16)  # (16, 1, 8, 8): means of p(x | z) for codes from the prior
codes = model.encode(data.test.rows(slice(0, 5)))  # (5, 8): posterior means
print(tuple(samples.shape), tuple(codes.shape))
