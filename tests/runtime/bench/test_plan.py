"""What is measured where nothing was said, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vaekit.bundle import Bundle
from vaekit.cores import Cores
from vaekit.errors import BundleError, ConfigError
from vaekit.manifest import Manifest
from vaekit.runtime.bench import plan as plan_module
from vaekit.runtime.bench.plan import BATCHES, QUICK_BATCHES, make_plan, settings, thread_counts
from vaekit.runtime.bench.results import Setting
from vaekit.runtime.bench.timing import LEAST_ROUNDS


@pytest.fixture(scope="module")
def with_pixels(pixel_bundle: Path) -> Manifest:
    return Bundle.open(pixel_bundle).manifest


@pytest.fixture(scope="module")
def manifest(small_bundle: Path) -> Manifest:
    return Bundle.open(small_bundle).manifest


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4)), (6, (1, 2, 4, 6)), (64, (1, 2, 4, 8, 16, 32, 64))],
)
def test_thread_counts_are_powers_of_two_up_to_the_cores(cores: int, counts: tuple[int, ...]) -> None:
    assert thread_counts(cores) == counts


def test_the_default_keeps_to_the_cores_that_the_container_gives(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "count_cores", lambda: Cores(machine=64, affinity=16, quota=3.5))
    plan = make_plan(manifest)
    assert plan.threads == (1, 2, 4)
    assert (plan.halves, plan.providers, plan.batches) == (("decoder",), ("cpu",), BATCHES)
    assert plan.precisions == tuple(manifest.precisions)


def test_quick_is_shorter_in_everything_that_was_not_given(manifest: Manifest) -> None:
    full, quick = make_plan(manifest), make_plan(manifest, quick=True)
    assert quick.batches == QUICK_BATCHES
    assert quick.seconds < full.seconds
    assert quick.starts < full.starts
    assert LEAST_ROUNDS <= quick.rounds < full.rounds  # with fewer, nothing could be advised
    given = make_plan(manifest, batches=[2], seconds=3.0, quick=True)
    assert (given.batches, given.seconds) == ((2,), 3.0)


def test_what_is_given_is_sorted_and_taken_once(manifest: Manifest) -> None:
    plan = make_plan(
        manifest,
        halves=["decoder", "encoder"],
        providers=["CPUExecutionProvider", "cpu", "CPU"],
        threads=[2, 1, 2],
        batches=[64, 1, 64],
    )
    assert plan.halves == ("encoder", "decoder")
    assert (plan.providers, plan.threads, plan.batches) == (("cpu",), (1, 2), (1, 64))


def test_a_gpu_is_measured_with_one_thread_count(manifest: Manifest) -> None:
    plan = make_plan(manifest, providers=["cpu", "cuda"], threads=[1, 2, 4])
    assert [(setting.provider, setting.threads) for setting in settings(plan, manifest)] == [
        ("cpu", 1),
        ("cpu", 2),
        ("cpu", 4),
        ("cuda", 4),
    ]


def test_settings_are_every_combination(manifest: Manifest) -> None:
    plan = make_plan(manifest, halves=["encoder", "decoder"], threads=[1, 2])._replace(precisions=("fp32", "int8"))
    found = list(settings(plan, manifest))
    assert len(found) == len(set(found)) == 8
    assert Setting("encoder", "int8", "cpu", 2) in found


def test_graphs_for_pixels_are_measured_where_the_bundle_has_them(manifest: Manifest, with_pixels: Manifest) -> None:
    assert make_plan(manifest).io == ("float32",)
    plan = make_plan(with_pixels, threads=[1])
    assert plan.io == ("float32", "uint8")
    both = [Setting("decoder", "fp32", "cpu", 1, io) for io in ("float32", "uint8")]
    assert list(settings(plan, with_pixels)) == both
    assert make_plan(with_pixels, io=["uint8", "float32", "uint8"]).io == ("float32", "uint8")
    assert make_plan(with_pixels, io=["uint8"]).io == ("uint8",)
    # A precision without such graphs is measured without them, unless they were asked for.
    fp32 = with_pixels.precisions["fp32"]
    more = with_pixels.replace(precisions={"fp32": fp32, "int8": fp32})
    found = list(settings(make_plan(more, threads=[1]), more))
    assert found == [*both, Setting("decoder", "int8", "cpu", 1)]
    with pytest.raises(BundleError, match=r"io='uint8' was asked for in precision='int8', but the bundle has"):
        make_plan(more, io=["uint8"])


def test_graphs_for_pixels_that_are_not_there_are_refused(manifest: Manifest) -> None:
    with pytest.raises(
        BundleError, match=r"io='uint8' was asked for, but the bundle '.*' has graphs for float32 alone"
    ):
        make_plan(manifest, io=["float32", "uint8"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batches": [1, 0]}, r"batches=0: a call takes 1 item or more\."),
        ({"batches": [-4]}, r"batches=-4: a call takes 1 item or more\."),
        ({"batches": []}, r"batches is empty; name at least one\."),
        ({"threads": [0]}, r"threads=0: give 1 to 1024, or None for every usable core\."),
        ({"threads": []}, r"threads is empty; name at least one\."),
        ({"precisions": []}, r"precisions is empty; name at least one\."),
        ({"providers": []}, r"providers is empty; name at least one\."),
        ({"io": []}, r"io is empty; name at least one\."),
        ({"io": ["uint16"]}, r"io='uint16' is unknown; choose one of float32, uint8\."),
        ({"halves": []}, r"halves is empty; name at least one\."),
        ({"halves": ["middle"]}, r"half='middle' is unknown; choose one of encoder, decoder\."),
        (
            {"providers": ["auto"]},
            r"provider='auto' is a choice between providers, and bench measures each; name them\.",
        ),
        ({"seconds": 0.0}, r"seconds=0: give each timing more than 0 and at most 3600 seconds\."),
        ({"seconds": float("nan")}, r"seconds=nan: give each timing more than 0"),
        ({"seconds": 1e9}, r"seconds=1e\+09: give each timing more than 0"),
    ],
)
def test_what_has_no_meaning_is_refused(manifest: Manifest, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        make_plan(manifest, **options)


def test_an_unknown_precision_is_the_bundles_error(manifest: Manifest) -> None:
    with pytest.raises(BundleError, match=r"precision='fp8' is not in the bundle '.*', which has fp32"):
        make_plan(manifest, precisions=["fp32", "fp8"])
