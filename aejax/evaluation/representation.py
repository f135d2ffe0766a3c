"""What latents know of labels that training never saw: nearest neighbours and a linear probe.

Latents are floating point, (n, d), those of a convolutional encoder flattened; labels are integers, (n,). Every
function raises ValueError, naming the shapes or dtypes, for anything else. They run on the host, without randomness.
"""

import numpy as np


def knn_accuracy(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, neighbours: int = 10
) -> float:
    """Accuracy, in [0, 1], of a majority vote among the nearest training latents (Cover and Hart 1967).

    Distances are Euclidean between the latents as they are: a latent of larger spread counts for more. Every neighbour
    has one vote, and of classes with as many votes the one with the smaller label wins.

    Raises:
      ValueError: also if there are fewer training latents than `neighbours`, or `neighbours` is below 1.
    """
    from sklearn.neighbors import KNeighborsClassifier

    _check(train, train_labels, test, test_labels)
    if not 1 <= neighbours <= len(train):
        raise ValueError(f"expected 1 to {len(train)} neighbours, as many as training latents, got {neighbours}")
    # The trees that scikit-learn would choose for few dimensions use one core and slow down with every dimension.
    classifier = KNeighborsClassifier(neighbours, algorithm="brute").fit(train, train_labels)
    return float(np.mean(classifier.predict(test) == test_labels))


def linear_probe_accuracy(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
    """Accuracy, in [0, 1], of multinomial logistic regression on the latents (Alain and Bengio 2017).

    Each latent is standardised by its mean and standard deviation over `train`, so that its scale does not matter; one
    that is constant there becomes 0. Minimises the cross-entropy summed over `train`, in nats, plus half the squared
    norm of the weights, by L-BFGS.

    Raises:
      ValueError: also if all training labels are equal.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _check(train, train_labels, test, test_labels)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000)).fit(train, train_labels)
    return float(np.mean(classifier.predict(test) == test_labels))


def _check(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> None:
    for latents, labels in ((train, train_labels), (test, test_labels)):
        if latents.ndim != 2 or labels.shape != latents.shape[:1] or not latents.size:
            raise ValueError(f"expected latents (n, d) with labels (n,), got {latents.shape}, {labels.shape}")
        if not np.issubdtype(latents.dtype, np.floating) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"expected floating-point latents and integer labels, got {latents.dtype}, {labels.dtype}")
    if train.shape[1] != test.shape[1]:
        raise ValueError(f"expected as many latents in train as in test, got {train.shape}, {test.shape}")
