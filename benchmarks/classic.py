"""The classic VAE training loop, the baseline of benchmarks/training.py.

What most tutorials teach, after the VAE of pytorch/examples and written anew: a Dataset that turns one image at a time
into a float tensor by way of Pillow (as torchvision's MNIST with ToTensor does), a shuffling DataLoader, the same network,
`binary_cross_entropy` on probabilities summed over the batch, and Adam as it comes. float32, batch 128.

The loader runs in the training process: with one or two worker processes an epoch took longer on two cores.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset


class OneByOne(Dataset[tuple[Tensor, int]]):
    """Images converted one at a time: uint8 array -> Pillow image -> float tensor (1, H, W) in [0, 1]."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.images = torch.from_numpy(images[:, 0].copy())
        self.labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(image.size[1], image.size[0], 1)
        return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255), int(self.labels[index])


class ClassicVAE(nn.Module):
    """784-400-(20, 20) and 20-400-784, ReLU inside, a sigmoid at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 400)
        self.mean = nn.Linear(400, 20)
        self.log_var = nn.Linear(400, 20)
        self.back = nn.Linear(20, 400)
        self.pixels = nn.Linear(400, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, sample, decode: (N, 1, 28, 28) -> x_hat (N, 784), mean (N, 20), log_var (N, 20)."""
        h = functional.relu(self.hidden(x.view(-1, 784)))
        mean, log_var = self.mean(h), self.log_var(h)
        std = torch.exp(0.5 * log_var)
        z = mean + torch.randn_like(std) * std
        return torch.sigmoid(self.pixels(functional.relu(self.back(z)))), mean, log_var


class ClassicLoop:
    """The loop, an epoch at a time."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], seed: int) -> None:
        torch.manual_seed(seed)
        self.model = ClassicVAE()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.loader = DataLoader(OneByOne(images, labels), batch_size=128, shuffle=True)

    def epoch(self) -> float:
        """Train one epoch; gives the mean loss per item in nats."""
        self.model.train()
        total = 0.0
        for x, _ in self.loader:
            self.optimizer.zero_grad()
            x_hat, mean, log_var = self.model(x)
            bce = functional.binary_cross_entropy(x_hat, x.view(-1, 784), reduction="sum")
            kl = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
            loss = bce + kl
            loss.backward()
            total += loss.item()
            self.optimizer.step()
        return total / len(self.loader.dataset)  # type: ignore[arg-type]

    @torch.no_grad()
    def test(self, images: NDArray[np.uint8]) -> float:
        """Mean negative ELBO of test items in nats, one sample an item."""
        self.model.eval()
        x = torch.from_numpy(images[:, 0].copy()).float().div(255).view(-1, 784)
        x_hat, mean, log_var = self.model(x)
        bce = functional.binary_cross_entropy(x_hat, x, reduction="sum")
        return float(bce - 0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())) / len(images)
