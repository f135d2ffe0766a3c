"""Requirements on a dataset's labels, in which -1 stands for unknown."""

import numpy as np


def needs(
    what: str, train_labels: np.ndarray | None, test_labels: np.ndarray | None, train: int, test: int
) -> str | None:
    """Says why an evaluation cannot be computed with these labels (n,), in a line that begins with `what`, or None.

    Args:
      what: such as "kNN needs".
      train_labels: of the images that are learnt from, or None where the dataset has none.
      test_labels: of the images that are evaluated.
      train: the smallest number of labelled images to learn from; they must be of two classes or more.
      test: the smallest number of labelled images to evaluate.
    """
    if train_labels is None or test_labels is None:
        return f"{what} labels, which this dataset lacks"
    known, tested = train_labels[train_labels >= 0], int((test_labels >= 0).sum())
    if not len(known):
        return f"{what} labels, and all of the training images' are unknown"
    if len(known) < train:
        return f"{what} {train} training images with a label, not {len(known)}"
    if known.min() == known.max():
        return f"{what} training images of two classes, not one"
    if tested < test:
        return f"{what} {test} test image{'s' * (test > 1)} with a label, not {tested}"
    return None
