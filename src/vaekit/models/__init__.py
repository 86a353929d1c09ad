"""Models: one file each, with its reference, its equations and its recipe."""

from vaekit.models.autoencoder import autoencoder
from vaekit.models.base import LatentModel, Model
from vaekit.models.cvae import cvae
from vaekit.models.factorvae import factorvae
from vaekit.models.ladder import ladder
from vaekit.models.recipes import RECIPES, Origin, Recipe, make_model, origin_of, recipe
from vaekit.models.twolayer import two_layer
from vaekit.models.vae import vae
from vaekit.models.vqvae import vqvae

__all__ = [
    "RECIPES",
    "LatentModel",
    "Model",
    "Origin",
    "Recipe",
    "autoencoder",
    "cvae",
    "factorvae",
    "ladder",
    "make_model",
    "origin_of",
    "recipe",
    "two_layer",
    "vae",
    "vqvae",
]
