"""Autoencoders in JAX and Flax."""

import lazy_loader

# `aejax.load` imports JAX when it is used, not when aejax is imported.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"training.loading": ["load"]})
