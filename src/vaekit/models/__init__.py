"""Models: one file each, with its reference, its equations and its recipe."""

from vaekit.models.aae import aae
from vaekit.models.autoencoder import autoencoder
from vaekit.models.base import LatentModel, Model
from vaekit.models.cvae import cvae
from vaekit.models.factorvae import factorvae
from vaekit.models.gan import GAN, gan
from vaekit.models.ladder import ladder
from vaekit.models.m2 import m2
from vaekit.models.recipes import RECIPES, Origin, Recipe, make_model, origin_of, recipe
from vaekit.models.text import text_autoencoder, text_lm, text_vae
from vaekit.models.twolayer import two_layer
from vaekit.models.vae import vae
from vaekit.models.vaegan import vaegan
from vaekit.models.vqvae import vqvae
from vaekit.models.wgan import wgan

__all__ = [
    "GAN",
    "RECIPES",
    "LatentModel",
    "Model",
    "Origin",
    "Recipe",
    "aae",
    "autoencoder",
    "cvae",
    "factorvae",
    "gan",
    "ladder",
    "m2",
    "make_model",
    "origin_of",
    "recipe",
    "text_autoencoder",
    "text_lm",
    "text_vae",
    "two_layer",
    "vae",
    "vaegan",
    "vqvae",
    "wgan",
]
