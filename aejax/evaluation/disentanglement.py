"""Disentanglement: whether single latents stand for single known factors of the images.

All functions take codes, floating point (n, latents), and factors, integers (n, k) from 0 up, of the same n images. All
values are between 0 and 1; 1 is the best. A latent whose spread is below 1% of the largest one counts as unused.
"""

import jax
import numpy as np
from jax import Array
from scipy.special import entr

BINS = 20
_UNUSED = 0.01


def mutual_information_gap(codes: np.ndarray, factors: np.ndarray) -> float:
    """Computes the MIG: Chen et al. (2018, arXiv:1802.04942), equation 6, with codes in `BINS` bins of equal width.

    For each factor, the difference of its two largest mutual informations with a latent, in units of the factor's
    entropy; then the mean over the factors.
    """
    information = mutual_information(codes, factors)
    if len(information) < 2:
        information = np.vstack([information, np.zeros_like(information)])
    largest = np.sort(information, axis=0)[::-1]
    entropies = np.array([_entropy(np.bincount(column)) for column in factors.T])
    return float(np.mean((largest[0] - largest[1]) / entropies))


def mutual_information(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Estimates the mutual information of each latent, in bins, and each factor, in nats: (latents, k)."""
    found, used = np.zeros((codes.shape[1], factors.shape[1])), _used(codes)
    for i, column in enumerate(codes.T):
        if not used[i]:
            continue
        edges = np.linspace(column.min(), column.max(), BINS + 1)[1:-1]
        bins = np.digitize(column, edges)
        for j, factor in enumerate(factors.T):
            size = int(factor.max()) + 1
            joint = np.bincount(bins * size + factor, minlength=BINS * size).reshape(BINS, size)
            found[i, j] = _entropy(joint.sum(axis=1)) + _entropy(joint.sum(axis=0)) - _entropy(joint.ravel())
    return found


def factor_vae_score(key: Array, codes: np.ndarray, factors: np.ndarray, votes: int = 800, group: int = 64) -> float:
    """Computes the FactorVAE score: Kim and Mnih (2018, arXiv:1802.05983), section 4.

    A vote draws `group` images that agree in one factor, and names the latent that varies least among them, in units of
    its spread over all images. The score is the share of votes from which a majority rule tells the factor. The rule is
    learnt from `votes` votes, and judged on as many others. Factors with a single value are left out.
    """
    used = _used(codes)
    scaled = codes[:, used] / codes[:, used].std(axis=0)
    if not used.any():
        return 0.0
    known = [j for j in range(factors.shape[1]) if factors[:, j].min() < factors[:, j].max()]
    groups = {(j, v): np.flatnonzero(factors[:, j] == v) for j in known for v in np.unique(factors[:, j])}
    draws = np.asarray(jax.random.uniform(key, (2 * votes, group + 2)))
    table = np.zeros((2, scaled.shape[1], factors.shape[1]), int)
    for vote, draw in enumerate(draws):
        factor = known[int(draw[0] * len(known))]
        values = [value for j, value in groups if j == factor]
        rows = groups[factor, values[int(draw[1] * len(values))]]
        chosen = scaled[rows[(draw[2:] * len(rows)).astype(int)]]
        table[vote // votes, chosen.var(axis=0).argmin(), factor] += 1
    rule = table[0].argmax(axis=1)
    return float(table[1][np.arange(len(rule)), rule].sum() / votes)


def dci(codes: np.ndarray, factors: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """Computes disentanglement, completeness and informativeness: Eastwood and Williams (2018), section 2.

    https://openreview.net/forum?id=By-7dz-AZ. The importance of a latent for a factor is that of a random forest, which
    learns the factor from half of the images. Informativeness is its accuracy on the other half, averaged over factors.
    """
    from sklearn.ensemble import RandomForestClassifier

    half, importance, accuracy = len(codes) // 2, [], []
    for factor in factors.T:
        forest = RandomForestClassifier(20, max_depth=12, max_features=None, random_state=seed, n_jobs=-1)
        forest.fit(codes[:half], factor[:half])
        importance.append(forest.feature_importances_)
        accuracy.append(forest.score(codes[half:], factor[half:]))
    shares = np.array(importance).T  # (latents, factors)
    of_latent = 1 - _relative_entropy(shares, axis=1)
    of_factor = 1 - _relative_entropy(shares, axis=0)
    weights = shares.sum(axis=1) / shares.sum()
    return {
        "dci_disentanglement": float(weights @ of_latent),
        "dci_completeness": float(of_factor.mean()),
        "dci_informativeness": float(np.mean(accuracy)),
    }


def _used(codes: np.ndarray) -> np.ndarray:
    """Returns which latents vary, bool (latents,)."""
    spread = codes.std(axis=0)
    return (spread > _UNUSED * spread.max()) & (spread > 0)


def _entropy(counts: np.ndarray) -> float:
    return float(entr(counts / counts.sum()).sum())


def _relative_entropy(shares: np.ndarray, axis: int) -> np.ndarray:
    """Returns the entropy along an axis, in units of that of even shares; 1 where all shares are 0."""
    if shares.shape[axis] == 1:
        return np.zeros(shares.sum(axis=axis).shape)
    total = shares.sum(axis=axis, keepdims=True)
    known = np.divide(shares, total, out=np.full_like(shares, 1 / shares.shape[axis]), where=total > 0)
    return entr(known).sum(axis=axis) / np.log(shares.shape[axis])
