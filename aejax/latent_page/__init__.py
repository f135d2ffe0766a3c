"""One HTML file to look into a two-dimensional latent space, with the decoder running inside it."""

from aejax.latent_page.page import html

__all__ = ["html"]
