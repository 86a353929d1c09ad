"""Models: one file each, with its reference, its equations and its recipe."""

from vaekit.models.autoencoder import autoencoder
from vaekit.models.base import LatentModel, Model
from vaekit.models.recipes import RECIPES, Origin, Recipe, make_model, origin_of, recipe
from vaekit.models.vae import vae

__all__ = [
    "RECIPES",
    "LatentModel",
    "Model",
    "Origin",
    "Recipe",
    "autoencoder",
    "make_model",
    "origin_of",
    "recipe",
    "vae",
]
