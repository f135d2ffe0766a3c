"""Information in latents about labels that training never saw: nearest neighbours and a linear probe.

Latents are floating point, (n, d), those of a convolutional encoder flattened; labels are integers, (n,). Rows with a
label below 0 are unlabelled, and left out. Every function raises ValueError, naming the shapes or dtypes, for anything
else. They run on the host, without randomness.
"""

import numpy as np

from aejax.evaluation import labels as label_counts

NEIGHBOURS = 10


def needs(image_shape: tuple[int, ...], train_labels: np.ndarray | None, test_labels: np.ndarray | None) -> str | None:
    """Says in a line why kNN and the linear probe cannot be computed with these labels (n,); None where they can.

    They need two classes and `NEIGHBOURS` images with labels to learn from, and one to test on.
    """
    return label_counts.needs("kNN and the linear probe need", train_labels, test_labels, train=NEIGHBOURS, test=1)


def knn_accuracy(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, neighbours: int = NEIGHBOURS
) -> float:
    """Returns the accuracy, in [0, 1], of a majority vote among the nearest training latents.

    Cover and Hart (1967, https://doi.org/10.1109/TIT.1967.1053964). Distances are Euclidean between the latents as they
    are: a latent of larger spread counts for more. Every neighbour has one vote, and of classes with equal votes the
    one with the smaller label wins.

    Raises:
      ValueError: also if there are fewer training latents than `neighbours`, or `neighbours` is below 1.
    """
    from sklearn.neighbors import KNeighborsClassifier

    train, train_labels, test, test_labels = _labelled(train, train_labels, test, test_labels)
    # scikit-learn takes distances as differences of squares, which lose their digits far from the origin.
    centre = train.mean(axis=0, dtype=np.float64)
    train, test = ((latents - centre).astype(latents.dtype) for latents in (train, test))
    if not 1 <= neighbours <= len(train):
        raise ValueError(f"expected 1 to {len(train)} neighbours, the number of training latents, got {neighbours}")
    # The trees that scikit-learn would choose for few dimensions use one core and slow down with every dimension.
    classifier = KNeighborsClassifier(neighbours, algorithm="brute").fit(train, train_labels)
    return float(np.mean(classifier.predict(test) == test_labels))


def linear_probe_accuracy(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
    """Returns the accuracy, in [0, 1], of multinomial logistic regression on the latents.

    Alain and Bengio (2017, https://arxiv.org/abs/1610.01644). Each latent is standardised by its mean and standard
    deviation over `train`, so that its scale does not matter; one that is constant there becomes 0. Minimises the
    cross-entropy summed over `train`, in nats, plus half the squared norm of the weights, by L-BFGS.

    Raises:
      ValueError: also if all training labels are equal.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, train_labels, test, test_labels = _labelled(train, train_labels, test, test_labels)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000)).fit(train, train_labels)
    return float(np.mean(classifier.predict(test) == test_labels))


def _labelled(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Selects the rows with labels; ValueError for other shapes and dtypes, and where no rows are left."""
    for latents, labels in ((train, train_labels), (test, test_labels)):
        if latents.ndim != 2 or labels.shape != latents.shape[:1] or not latents.size:
            raise ValueError(f"expected latents (n, d) with labels (n,), got {latents.shape}, {labels.shape}")
        if not np.issubdtype(latents.dtype, np.floating) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"expected floating-point latents and integer labels, got {latents.dtype}, {labels.dtype}")
        if (labels < 0).all():
            raise ValueError(f"expected labels of 0 and more in some rows, got none in {labels.shape}")
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"expected one number of latents in train and test, got {train.shape}, {test.shape}")
    train_rows, test_rows = train_labels >= 0, test_labels >= 0
    return train[train_rows], train_labels[train_rows], test[test_rows], test_labels[test_rows]
