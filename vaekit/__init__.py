"""vaekit: train a variational autoencoder, export it as two ONNX graphs, run it the same everywhere, and prove it.

    vae = vaekit.load("exports/mnist")         # a bundle; without a path, the built-in MNIST model
    digits = vae.sample(16, seed=7)            # (16, 1, 28, 28) float32
    posterior = vae.encode(x)                  # Posterior(mean, log_var)
    z = vaekit.reparameterise(posterior.mean, posterior.log_var, seed=7)

Importing vaekit loads NumPy and the standard library; ONNX Runtime is imported when the first session is made. Training
(`vaekit.training`, torch) and export (`vaekit.exporting`, torch and onnx) are packages of their own.
"""

from vaekit.bundle import Bundle
from vaekit.errors import VaekitError
from vaekit.latents import Posterior, interpolate, prior, reparameterise, traverse
from vaekit.manifest import Manifest
from vaekit.noise import noise
from vaekit.runtime.session import Decoder, Encoder
from vaekit.runtime.vae import VAE, load
from vaekit.runtime.verify import Deviation, verify_bundle
from vaekit.spec import DataSpec, Feature, ModelSpec

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "Bundle",
    "DataSpec",
    "Decoder",
    "Deviation",
    "Encoder",
    "Feature",
    "Manifest",
    "ModelSpec",
    "Posterior",
    "VaekitError",
    "__version__",
    "interpolate",
    "load",
    "noise",
    "prior",
    "reparameterise",
    "traverse",
    "verify_bundle",
]
