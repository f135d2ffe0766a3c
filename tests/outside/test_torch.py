"""Training transplanted into PyTorch: the same arrays, parameters, noise and batches, three steps, equal parameters.

In float64, with torch.optim.Adam next to optax.adam. Networks, losses, gradients and optimiser are PyTorch's own.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import pytest

from aejax import rng
from aejax.methods import adversarial, gan_losses, objectives, reconstruction, variational
from aejax.methods.adversarial import Adversary, Optimizers
from aejax.methods.method import Method
from aejax.models.image_to_image import ImageToImage
from aejax.models.latent_variable import LatentVariableModel
from aejax.models.posteriors import DeterministicPosterior, GaussianPosterior
from aejax.models.priors import StandardNormal
from aejax.nn.convolutional import ConvAutoencoder
from aejax.nn.discriminator import Discriminator
from aejax.nn.heads import GaussianEncoder, LatentEncoder
from aejax.nn.mlp import MLP, DenseDecoder
from tests.outside.comparison import as_float64, flat

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[dev]'")
F = torch.nn.functional

STEPS, BATCH, LATENTS, RATE = 3, 6, 3, 1e-2
TOLERANCE = 1e-10
SHAPE = (12, 12, 1)
PIXELS = 144

Tensors = dict[str, Any]
"""Parameters by their path in aejax's tree, such as "encoder/params/mean/kernel"."""


def paths(params: Any) -> dict[str, np.ndarray]:
    """Returns the parameters as arrays by their path."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(str(key.key) for key in path): np.asarray(leaf) for path, leaf in leaves}


def dense(tensors: Tensors, layer: str, x: Any) -> Any:
    return F.linear(x, tensors[f"{layer}/kernel"].T, tensors[f"{layer}/bias"])


def conv(tensors: Tensors, layer: str, x: Any, padding: int = 1) -> Any:
    return F.conv2d(
        x, tensors[f"{layer}/kernel"].permute(3, 2, 0, 1).contiguous(), tensors[f"{layer}/bias"], padding=padding
    )


def optimizer(tensors: Tensors, *parts: str, betas: tuple[float, float] = (0.9, 0.999)) -> Any:
    """Returns Adam over the tensors whose path begins with one of the parts."""
    return torch.optim.Adam([t for name, t in tensors.items() if name.startswith(parts)], RATE, betas)


def update(adam: Any, loss: Any) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def compare(
    method: Method, torch_steps: Callable[[Tensors, list[Any], list[jax.Array]], None], still: str = ""
) -> None:
    """Trains both for three steps and compares all parameters; asserts that all but `still` have moved."""
    with jax.enable_x64(True):
        batches = jax.random.uniform(jax.random.key(0), (STEPS, BATCH, *SHAPE))
        keys = list(jax.random.split(jax.random.key(1), STEPS))
        state = as_float64(method.init(jax.random.key(2), batches[0]))
        start = paths(state.params)
        tensors = {name: torch.tensor(array, requires_grad=True) for name, array in start.items()}
        step = jax.jit(method.step)
        for batch, key in zip(batches, keys, strict=True):
            state, _ = step(state, batch, key)
        torch_steps(tensors, [torch.tensor(np.asarray(batch)) for batch in batches], keys)
    ours, theirs = paths(state.params), {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    assert {array.dtype for array in ours.values()} == {np.dtype("float64")}
    assert all(np.abs(ours[name] - start[name]).max() > RATE / 2 for name in ours if name != still)
    np.testing.assert_allclose(flat(ours), flat(theirs), rtol=TOLERANCE, atol=TOLERANCE)


def normal(key: jax.Array, *shape: int) -> Any:
    return torch.tensor(np.asarray(jax.random.normal(key, shape)))


def cross_entropy(logits: Any, x: Any) -> Any:
    """Sums the cross-entropy of each image's pixels, and averages over images."""
    return F.binary_cross_entropy_with_logits(logits, x.reshape(logits.shape), reduction="sum") / len(x)


def test_the_autoencoder() -> None:
    """The tutorial's convolutional one: pooling, upsampling, and padding of both kinds."""

    def network(t: Tensors, x: Any) -> Any:
        x = x.permute(0, 3, 1, 2)
        for i, padding in enumerate((0, 0, 1)):
            x = F.max_pool2d(F.relu(conv(t, f"params/encoder/ConvMaxPool_{i}", x)), 2, padding=padding)
        x = F.relu(conv(t, "params/decoder/Conv_0", x))
        for i, padding in enumerate((1, 0, 1)):
            x = conv(t, f"params/decoder/UpsampleConv_{i}", F.interpolate(x, scale_factor=2), padding)
            x = F.relu(x) if i < 2 else x
        return x.permute(0, 2, 3, 1)

    def steps(tensors: Tensors, batches: list[Any], keys: list[jax.Array]) -> None:
        adam = optimizer(tensors, "params")
        for batch in batches:
            update(adam, cross_entropy(network(tensors, batch), batch))

    # Wide enough that no layer is dead.
    model = ImageToImage(ConvAutoencoder(1, (16, 16, 16), (16, 16, 16)))
    compare(reconstruction.autoencoder(model, optax.adam(RATE)), steps)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_the_vae(beta: float) -> None:
    def steps(tensors: Tensors, batches: list[Any], keys: list[jax.Array]) -> None:
        adam = optimizer(tensors, "")
        for batch, key in zip(batches, keys, strict=True):
            hidden = F.relu(dense(tensors, "encoder/params/trunk/Dense_0", batch.reshape(BATCH, -1)))
            mean = dense(tensors, "encoder/params/mean", hidden)
            std = torch.exp(7.5 * torch.tanh(dense(tensors, "encoder/params/log_variance", hidden) / 15))
            posterior = torch.distributions.Normal(mean, std)
            z = mean + std * normal(rng.stream(key, "posterior"), BATCH, 1, LATENTS)[:, 0]
            decoded = F.relu(dense(tensors, "decoder/params/MLP_0/Dense_0", z))
            logits = dense(tensors, "decoder/params/pixels", decoded)
            kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
            update(adam, cross_entropy(logits, batch) + beta * kl.sum(1).mean())

    model = LatentVariableModel(
        GaussianPosterior(GaussianEncoder(MLP((20,)), LATENTS)),
        DenseDecoder((20,), SHAPE),
        StandardNormal(latents=LATENTS),
    )
    compare(variational.vae(model, optax.adam(RATE), objectives.beta_elbo(beta)), steps)


@pytest.mark.parametrize("game", ["gan", "wgan_gp"])
def test_the_adversarial_autoencoder(game: str) -> None:
    """Three phases, each with the parameters that the one before has left, and Adam without momentum for two."""

    def encode(t: Tensors, x: Any) -> Any:
        hidden = F.relu(dense(t, "encoder/params/trunk/Dense_0", x.reshape(BATCH, -1)))
        return dense(t, "encoder/params/head", hidden)

    def decode(t: Tensors, z: Any) -> Any:
        return dense(t, "decoder/params/pixels", F.relu(dense(t, "decoder/params/MLP_0/Dense_0", z)))

    def judge(t: Tensors, z: Any) -> Any:
        hidden = F.relu(dense(t, "discriminator/params/Dense_0", z))
        return dense(t, "discriminator/params/Dense_1", hidden)[:, 0]

    def discriminator_loss(t: Tensors, real: Any, fake: Any, key: jax.Array) -> Any:
        if game == "gan":
            ones = torch.ones(BATCH, dtype=torch.float64)
            right = F.binary_cross_entropy_with_logits(judge(t, real), ones)
            return right + F.binary_cross_entropy_with_logits(judge(t, fake), 0 * ones)
        epsilon = torch.tensor(np.asarray(jax.random.uniform(rng.stream(key, "penalty"), (BATCH, 1))))
        between = (epsilon * real + (1 - epsilon) * fake).requires_grad_()
        (slopes,) = torch.autograd.grad(judge(t, between).sum(), between, create_graph=True)
        penalty = 10 * ((slopes.norm(2, dim=1) - 1) ** 2).mean()
        return judge(t, fake).mean() - judge(t, real).mean() + penalty

    def generator_loss(t: Tensors, fake: Any) -> Any:
        outputs = judge(t, fake)
        return F.binary_cross_entropy_with_logits(outputs, 1 + 0 * outputs) if game == "gan" else -outputs.mean()

    def steps(tensors: Tensors, batches: list[Any], keys: list[jax.Array]) -> None:
        first = optimizer(tensors, "encoder", "decoder")
        second, third = (optimizer(tensors, part, betas=(0.0, 0.999)) for part in ("discriminator", "encoder"))
        for batch, step_key in zip(batches, keys, strict=True):
            key = rng.stream(step_key, "adversarial")
            update(first, cross_entropy(decode(tensors, encode(tensors, batch)), batch))
            real = normal(rng.stream(rng.stream(key, "prior"), "anywhere"), BATCH, LATENTS)
            update(second, discriminator_loss(tensors, real, encode(tensors, batch).detach(), key))
            update(third, generator_loss(tensors, encode(tensors, batch)))

    model = LatentVariableModel(
        DeterministicPosterior(LatentEncoder(MLP((20,)), LATENTS)),
        DenseDecoder((20,), SHAPE),
        StandardNormal(latents=LATENTS),
    )
    adversary = Adversary(model, Discriminator((20,)))
    optimizers = Optimizers(optax.adam(RATE), optax.adam(RATE, b1=0.0), optax.adam(RATE, b1=0.0))
    method = adversarial.aae(adversary, optimizers, gan_losses.by_name(game))  # type: ignore[arg-type]
    # A critic's last bias cancels between real and fake samples.
    compare(method, steps, still="discriminator/params/Dense_1/bias" if game == "wgan_gp" else "")


@pytest.mark.parametrize("mistake", ["a factor of 2", "a mean for a sum", "no clean gradients"])
def test_a_mistake_would_be_noticed(mistake: str) -> None:
    """Adam takes a factor away from a gradient, but for its epsilon; a factor of one term of two, it does not."""

    def steps(tensors: Tensors, batches: list[Any], keys: list[jax.Array]) -> None:
        adam = optimizer(tensors, "")
        for batch in batches:
            if mistake != "no clean gradients":
                adam.zero_grad()
            hidden = F.relu(dense(tensors, "encoder/params/trunk/Dense_0", batch.reshape(BATCH, -1)))
            z = dense(tensors, "encoder/params/head", hidden)
            logits = dense(tensors, "decoder/params/pixels", F.relu(dense(tensors, "decoder/params/MLP_0/Dense_0", z)))
            loss = cross_entropy(logits, batch)
            loss = {"a factor of 2": 2 * loss, "a mean for a sum": loss / PIXELS}.get(mistake, loss)
            loss.backward()
            adam.step()

    model = LatentVariableModel(
        DeterministicPosterior(LatentEncoder(MLP((20,)), LATENTS)),
        DenseDecoder((20,), SHAPE),
        StandardNormal(latents=LATENTS),
    )
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(reconstruction.autoencoder(model, optax.adam(RATE)), steps)
