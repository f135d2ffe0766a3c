"""The importance-sampled likelihood in PyTorch, one image after another, as people write it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  the field's name for it
from torch import Tensor, nn
from torch.distributions import Normal

from experiments.benchmark.contenders.torch_epochs import contender, prepare
from experiments.benchmark.harness.worker import Contender


def build(spec: Mapping[str, Any]) -> Contender | dict[str, Any]:
    """Does what `jax_likelihood.build` does, in PyTorch; the form is the number of samples decoded at once."""
    device = prepare(spec)
    images = torch.from_numpy(np.load(spec["images"])).flatten(1).to(device).float() / 255
    with np.load(spec["params"]) as saved:
        trunk = nn.Sequential(_dense(saved, "encoder/params/trunk/Dense_0"), nn.ReLU()).to(device)
        mean, log_variance = (_dense(saved, f"encoder/params/{name}").to(device) for name in ("mean", "log_variance"))
        hidden = _dense(saved, "decoder/params/MLP_0/Dense_0")
        decoder = nn.Sequential(hidden, nn.ReLU(), _dense(saved, "decoder/params/pixels")).to(device)
    prior = Normal(torch.zeros((), device=device), torch.ones((), device=device))

    def log_likelihood(logits: Tensor, image: Tensor) -> Tensor:
        target = image.expand_as(logits)
        if spec["size"] == "tutorial":
            return -F.mse_loss(torch.sigmoid(logits), target, reduction="none").sum(1)
        return -F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1)

    @torch.no_grad()
    def nll(image: Tensor) -> float:
        features = trunk(image)
        posterior = Normal(mean(features), torch.exp(15 * torch.tanh(log_variance(features) / 15) / 2))
        log_weights = []
        for drawn in range(0, spec["samples"], spec["form"]):
            z = posterior.sample((min(spec["form"], spec["samples"] - drawn),))
            log_ratio = prior.log_prob(z).sum(1) - posterior.log_prob(z).sum(1)
            log_weights.append(log_likelihood(decoder(z), image) + log_ratio)
        return math.log(spec["samples"]) - torch.logsumexp(torch.cat(log_weights), 0).item()

    def block(count: int) -> None:
        for image in images[:count]:
            nll(image)

    if spec.get("check"):
        return {"nll": [nll(image) for image in images[: spec["check"]]]}
    return contender(block, device)


def _dense(saved: Mapping[str, np.ndarray], path: str) -> nn.Linear:
    """This project's dense layer of that path."""
    kernel, bias = (torch.from_numpy(saved[f"{path}/{name}"]) for name in ("kernel", "bias"))
    layer = nn.Linear(*kernel.shape)
    with torch.no_grad():
        layer.weight.copy_(kernel.T)
        layer.bias.copy_(bias)
    return layer
