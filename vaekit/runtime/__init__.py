"""Running a bundle: NumPy and ONNX Runtime, nothing else.

    providers.py   which execution provider and how many threads a session gets, strictly
    session.py     Encoder, Decoder
    vae.py         VAE, load, and the terms of the negative ELBO
    verify.py      replay the golden vectors
    evaluate.py    the ELBO of a data set
    likelihood.py  its likelihood, by importance sampling
    frechet.py     how far the model's own samples are from it, in its own codes
    doctor.py      what is wrong with this machine
    libraries.py   which shared libraries a provider needs, and which of them are missing
    telemetry.py   ONNX Runtime's, which is turned off

Importing this package does not import ONNX Runtime; making a session does. Must not import: torch, onnx.
"""
