"""Adam for one array, against torch's own, bit for bit."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from vaekit.training.adam import Adam

pytestmark = pytest.mark.usefixtures("one_thread")

RATES = [1e-3, 3e-3, 5e-4, 0.0, 1e-2]


def weights(count: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(57 + i, generator=generator)) for i in range(count)]


@pytest.mark.parametrize("count", [1, 3])
def test_its_numbers_and_its_state_are_torchs(count: int) -> None:
    ours, theirs = weights(count), weights(count)
    adam, reference = Adam(ours), torch.optim.Adam(theirs, lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(1)
    for rate in RATES:
        reference.param_groups[0]["lr"] = rate
        for our, their in zip(ours, theirs, strict=True):
            our.grad = torch.randn(our.shape, generator=generator)
            their.grad = our.grad.clone()
        adam.update(rate)
        reference.step()
        for our, their in zip(ours, theirs, strict=True):
            assert torch.equal(our, their)
            assert adam.state[our].keys() == reference.state[their].keys()
            for moment, tensor in adam.state[our].items():
                assert torch.equal(tensor, reference.state[their][moment])


def test_no_run_that_compiles_nothing_imports_torchs_compiler(small_data_folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom vaekit.datasets import load_dataset\nfrom vaekit.training import TrainConfig, train\n"
        "config = TrainConfig(hidden=(8,), latent=2, epochs=1, device='cpu', objective=sys.argv[3])\n"
        "train(load_dataset(sys.argv[1]), config, sys.argv[2])\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    for objective in ("elbo", "iwae"):
        arguments = [sys.executable, "-c", program, str(small_data_folder), str(tmp_path / objective), objective]
        subprocess.run(arguments, check=True)


def test_a_weight_without_a_gradient_stays() -> None:
    (weight,) = weights(1)
    before = weight.detach().clone()
    Adam([weight]).update(1e-3)
    assert torch.equal(weight, before)
