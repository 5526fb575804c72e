"""A program of somebody who checks types strictly."""

from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import vaekit
from vaekit.packing import pack, unpack
from vaekit.runtime.bound import BoundDecoder


def picture(decoder: vaekit.Decoder, seed: int) -> NDArray[np.float32]:
    call = decoder.bind(1)
    assert_type(call, BoundDecoder)
    call.z[...] = vaekit.prior(1, decoder.spec.latent, seed=seed)
    return call()


vae = vaekit.load(b"the content of a .vaekit file", provider="cpu", threads=1)
x = vae.sample(16, seed=7)
posterior = vae.encode(x)
assert_type(posterior, vaekit.Posterior)
z = vaekit.reparameterise(posterior.mean, posterior.log_var, seed=7)
assert_type(vae.decode(z), NDArray[np.float32])
assert_type(vae.spec.data.shape, tuple[int, ...])
assert_type(vae.bundle.manifest.name, str)
failed = [deviation.what for deviation in vaekit.verify_bundle(vae.bundle, vae) if not deviation.passed]
assert_type(failed, list[str])
with open("digits.vaekit", "rb") as file:
    assert_type(picture(vaekit.Decoder(file), seed=3), NDArray[np.float32])
assert_type(pack(vae.bundle, "again.vaekit").sha256, str)
assert_type(unpack("again.vaekit", "folder"), vaekit.Bundle)
