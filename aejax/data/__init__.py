"""Images in, uint8 arrays out; knows nothing of models."""

from aejax.data.datasets import Dataset, available, load

__all__ = ["Dataset", "available", "load"]
