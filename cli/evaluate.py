"""`vaekit evaluate`: how good a model is on a data set, measured through its ONNX graphs, without torch."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.datasets.binarized import Binarized
from vaekit.datasets.options import DataOptions
from vaekit.datasets.rows import Joined, spread
from vaekit.errors import ConfigError, DataError, MissingDependencyError, command_line
from vaekit.places import is_run

from .console import error_console, print_json
from .data_options import for_model, read_data, reads_data
from .encode import Part, check_columns
from .options import JsonOption, PrecisionOption, ProviderOption, QuietOption, SeedOption, ThreadsOption
from .streaming import BatchSizeOption, progress, stoppable

if TYPE_CHECKING:
    from vaekit import VAE
    from vaekit.datasets import Dataset, Items, Split


@reads_data
def evaluate(
    given: dict[str, Any],
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="BUNDLE|RUN",
            help="A bundle (a folder or `.vaekit` file) or a run's folder; without it, the built-in MNIST model.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A data set as `vaekit train` takes it; without it, the run's own, or the bundle's where it is a known name.",
        ),
    ] = None,
    part: Annotated[Part, typer.Option("--split", help="Which items.")] = "test",
    items: Annotated[
        int | None, typer.Option("--items", min=1, metavar="N", help="At most so many items of a split, evenly spaced.")
    ] = None,
    nll_samples: Annotated[
        int | None,
        typer.Option(
            "--nll-samples", metavar="K", help="Estimate -log p(x) by importance sampling too, with K codes an item."
        ),
    ] = None,
    binarized: Annotated[
        bool,
        typer.Option(
            "--binarized",
            help="Bernoulli models: draw each grey pixel as 0 or 1, once by --seed. MNIST's published NLLs are of such pixels.",
        ),
    ] = False,
    by_dimension: Annotated[
        bool, typer.Option("--by-dimension", help="Show each dimension's KL, also where there are more than 64.")
    ] = False,
    seed: SeedOption = 0,
    batch_size: BatchSizeOption = 256,
    precision: PrecisionOption = "fp32",
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure a model on a data set: ELBO, KL by dimension, likelihood, and its samples, each with what it compares with.

    All numbers come through the ONNX graphs, in constant memory; a run is exported first, which needs torch. The Fréchet
    distance is taken in the model's own codes, with that of other real items as its floor: it is no FID, which looks
    through another network; a model judges itself; two models' distances do not compare.
    """
    from vaekit.runtime.evaluate import evaluate as measure
    from vaekit.runtime.frechet import frechet
    from vaekit.runtime.likelihood import check_samples, negative_log_likelihood

    from .evaluate_report import Report, as_values
    from .evaluate_table import show

    silent = quiet or as_json
    vae, source, options = _open(model, data, precision, provider, threads, silent=silent)
    if nll_samples is not None:
        check_samples(vae.spec, nll_samples)
    if binarized and vae.spec.likelihood != "bernoulli":
        raise ConfigError(
            f"--binarized draws the pixels of Bernoulli models, but this one's likelihood is {vae.spec.likelihood}."
        )
    dataset = read_data(source, for_model(options, given, source), quiet=silent)
    check_columns(dataset, vae.spec.data)
    same = same_data(vae, dataset)
    if data is None and not same:
        raise DataError(f"{vae.manifest.name} was made with other data than {source!r} is now; name the data.")

    splits = _splits(dataset, most=items, seed=seed if binarized else None)
    chosen = splits[part] if part != "all" else Joined(splits["train"], splits["test"])
    real_name, other_name = ("train", "test") if part == "train" else ("test", "train")
    real, other = splits[real_name], spread(splits[other_name], len(splits[real_name]))
    nll = distance = None
    with stoppable(None) as check:
        with progress("ELBO", check, wanted=not silent) as move:
            elbo = measure(vae, chosen, seed=seed, batch_size=batch_size, on_progress=move)
        if min(len(real), len(other)) > 1:
            with progress("Fréchet distance", check, wanted=not silent) as move:
                distance = frechet(
                    vae, real, other, seed=seed, binarized=binarized, batch_size=batch_size, on_progress=move
                )
        if nll_samples is not None:
            with progress("NLL", check, wanted=not silent) as move:
                nll = negative_log_likelihood(
                    vae, chosen, samples=nll_samples, seed=seed, batch_size=batch_size, on_progress=move
                )
    report = Report(
        model=vae.manifest.name,
        spec=vae.spec,
        precision=vae.precision,
        provider=vae.provider,
        data=dataset.name,
        data_sha256=dataset.sha256,
        same_data=same,
        split=part,
        available=sum(len(split) for name, split in _parts(dataset) if part in (name, "all")),
        binarized=binarized,
        seed=seed,
        elbo=elbo,
        nll=nll,
        frechet=distance,
        frechet_between=(real_name, other_name),
    )
    if as_json:
        print_json(as_values(report))
    else:
        show(report, by_dimension=by_dimension)


def _open(
    model: Path | None, data: str | None, precision: str, provider: str, threads: int | None, *, silent: bool
) -> tuple[VAE, str, DataOptions]:
    """Open a bundle, or a run through a bundle that is gone when this returns; and say what data it is measured on.

    Raises:
        MissingDependencyError: It is a run, and torch is not installed.
        ConfigError: No data was named, and the bundle does not say where its own is.
    """
    import vaekit
    from vaekit.datasets import options_for
    from vaekit.datasets.builtin import KNOWN

    if model is None or not is_run(model):
        vae = vaekit.load(model, provider=provider, precision=precision, threads=threads)
        source = data or str(_made_of(vae).get("name"))
        if data is None and source not in KNOWN:
            raise ConfigError(
                f"the bundle {vae.manifest.name!r} does not say where its data is; name it: "
                f"{command_line('vaekit', 'evaluate', model, 'DATA')}."
            )
        return vae, source, options_for(source, vae.spec.data)
    try:
        from vaekit.exporting import export_bundle
        from vaekit.training import Checkpoint
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{model} is a run, which is exported before it is evaluated, and that needs {error.name}; install it with "
            "`pip install 'vaekit[train,cpu]'`, or evaluate a bundle."
        ) from error
    checkpoint = Checkpoint.latest(model)
    if not silent:
        line = f"{model}: exporting epoch {checkpoint.epoch} to measure it"
        error_console().print(line, markup=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="vaekit-evaluate-") as folder:
        bundle = export_bundle(checkpoint, Path(folder) / "bundle", name=model.resolve().name)
        vae = vaekit.load(bundle.path, provider=provider, precision=precision, threads=threads)
    if data is None:
        return vae, checkpoint.info.data, checkpoint.info.data_options
    return vae, data, options_for(data, vae.spec.data)


def _made_of(vae: VAE) -> Mapping[str, Any]:
    """What the bundle says of its data; another program's bundle may say nothing."""
    said = vae.manifest.made_by.get("data")
    return said if isinstance(said, Mapping) else {}


def same_data(vae: VAE, dataset: Dataset) -> bool:
    """Whether the data is what the model was made with."""
    return bool(_made_of(vae).get("sha256") == dataset.sha256)


def _parts(dataset: Dataset) -> tuple[tuple[str, Split], ...]:
    return ("train", dataset.train), ("test", dataset.test)


def _splits(dataset: Dataset, *, most: int | None, seed: int | None) -> dict[str, Items]:
    """Items of both splits, at most so many of each, their pixels drawn by a seed where one is given."""
    found: dict[str, Items] = {}
    first = 0
    for name, split in _parts(dataset):
        items: Any = split.items if seed is None else Binarized(split.items, seed=seed, start=first)
        found[name] = items if most is None else spread(items, most)
        first += len(split)
    return found
