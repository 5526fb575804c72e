"""Other precisions from end to end: what is in the bundle, that its numbers are true, what becomes of a variant that fails."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs_by_hand import Exported, constants
from onnx import numpy_helper

import vaekit
from vaekit.bundle import Bundle
from vaekit.datasets import Dataset, Split
from vaekit.errors import ConfigError, DataError, ExportError, OutputError, ShapeError, VerificationError
from vaekit.exporting import Gate, ModulePair, Report, candidates, export_bundle, variants
from vaekit.exporting import export as export_module
from vaekit.exporting.card import model_card
from vaekit.exporting.precision import MARGIN, wanted_precisions

pytestmark = pytest.mark.usefixtures("one_thread")

OTHERS = ("fp16", "int8", "int8-dynamic")
ANY_GAIN = Gate(max_delta_elbo=0.05, min_gain=1.0)
"""Small models are no faster in integers, and how much smaller they are is not the question here."""


class Made:
    """A bundle with every precision, and what was reported of it."""

    def __init__(self, pair: ModulePair, data: Dataset, folder: Path, precisions: tuple[str, ...]) -> None:
        self.reports: list[Report] = []
        self.steps: list[str] = []
        self.data = data
        self.bundle = export_bundle(
            pair,
            folder,
            data=data,
            precisions=precisions,
            gate=ANY_GAIN,
            calibration_items=64,
            ort_format=True,
            on_variant=self.reports.append,
            on_step=self.steps.append,
        )

    def open(self, precision: str, **options: Any) -> vaekit.VAE:
        return vaekit.load(self.bundle.path, provider="cpu", threads=1, precision=precision, **options)


@pytest.fixture(scope="module")
def made(small_pair: ModulePair, small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(small_pair, small_dataset, tmp_path_factory.mktemp("variants") / "small", OTHERS)


@pytest.fixture(scope="module")
def made_of_convolutions(image_model: Exported, image_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(image_model.pair, image_data, tmp_path_factory.mktemp("variants") / "squares", ("int8", "fp16"))


@pytest.fixture
def same_graphs(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take `small_pair`'s graphs from its bundle instead of exporting them again, and no time to time them."""
    graphs = {name: (small_bundle / f"{half}.onnx").read_bytes() for name, half in (("x", "encoder"), ("z", "decoder"))}
    monkeypatch.setattr(export_module, "to_onnx", lambda *_, inputs, **__: graphs[inputs[0]])
    monkeypatch.setattr(variants, "measure_rates", equally_fast)


def equally_fast(contenders: dict[str, Any], *_: Any) -> dict[str, dict[str, dict[str, float]]]:
    return {name: {"encoder": {"1": 1.0}, "decoder": {"1": 1.0}} for name in contenders}


# What is in the bundle.


def test_every_precision_that_was_asked_for_is_there_beside_fp32(made: Made) -> None:
    manifest = made.bundle.manifest
    assert list(manifest.precisions) == ["fp32", *OTHERS]
    for name, info in manifest.precisions.items():
        for half in ("encoder", "decoder"):
            stem = half if name == "fp32" else f"{half}.{name}"
            graph = manifest.graph(half, name)
            assert (graph.file.file, graph.ort and graph.ort.file) == (f"{stem}.onnx", f"{stem}.ort")
            assert (made.bundle.path / graph.file.file).stat().st_size == graph.file.bytes
            assert graph.opset == 18
        assert info.batch_dependent == (name == "int8-dynamic")
    assert {path.name for path in made.bundle.path.iterdir()} == {
        *("manifest.json", "SHA256SUMS", "golden.npz", "README.md", "preview.png"),
        *(file.file for info in manifest.precisions.values() for file in info.files()),
    }


def test_the_files_are_about_half_and_a_quarter_as_large(made: Made) -> None:
    fp32, fp16, int8, dynamic = (info.bytes for info in made.bundle.manifest.precisions.values())
    assert fp32 == sum((made.bundle.path / f"{half}.onnx").stat().st_size for half in ("encoder", "decoder"))
    assert 0.48 < fp16 / fp32 < 0.56
    # A channel has scales, a bias and their zero points besides, 17 bytes; the decoder's 784 channels have but 16 weights each.
    assert 0.24 < int8 / fp32 < 0.45
    assert 0.24 < dynamic / fp32 < 0.45


@pytest.mark.parametrize("precision", OTHERS)
def test_the_stated_errors_are_the_differences_from_fp32_on_the_test_items(made: Made, precision: str) -> None:
    fp32, variant, info = made.open("fp32"), made.open(precision), made.bundle.manifest.precisions[precision]
    x = made.data.test.pixels(slice(None))
    wanted, found = fp32.encode(x), variant.encode(x)
    z = wanted.sample(seed=0)
    gaps = {
        "encoder": [np.abs(found.mean - wanted.mean), np.abs(found.log_var - wanted.log_var)],
        "decoder": [np.abs(variant.decode(z) - fp32.decode(z))],
        "round_trip": [np.abs(variant.decode(found.sample(seed=0)) - fp32.decode(z))],
    }
    # Dynamic int8 gives other numbers in other batches.
    tolerance = 0.5 if info.batch_dependent else 1e-3
    for what, arrays in gaps.items():
        assert info.error[what] == pytest.approx(max(gap.max() for gap in arrays), rel=tolerance)
        assert info.mean_error[what] == pytest.approx(max(gap.mean() for gap in arrays), rel=tolerance)
        assert info.error[what] > info.mean_error[what] > 0


@pytest.mark.parametrize("precision", OTHERS)
def test_the_stated_loss_is_the_difference_of_the_scores(made: Made, precision: str) -> None:
    info, x = made.bundle.manifest.precisions[precision], made.data.test.pixels(slice(None))
    fp32, variant = (float(made.open(name).score(x, seed=0).mean()) for name in ("fp32", precision))
    assert info.quality["negative_elbo"] == pytest.approx(variant, abs=0.3 if info.batch_dependent else 1e-3)
    assert info.delta_elbo == pytest.approx(variant - fp32, abs=0.3 if info.batch_dependent else 2e-3)
    assert info.quality["items"] == len(x)
    assert info.gate is not None
    assert (info.gate.result, info.gate.reasons, info.gate.min_gain) == ("passed", (), 1.0)
    assert info.gate.max_delta_elbo == pytest.approx(0.05 * fp32, rel=1e-4)


@pytest.mark.parametrize("precision", OTHERS)
def test_tolerances_are_the_errors_times_the_margin(made: Made, precision: str) -> None:
    info = made.bundle.manifest.precisions[precision]
    for what in ("encoder", "decoder", "round_trip"):
        assert info.tolerance[what] == MARGIN[precision] * info.error[what]
        assert info.tolerance[f"mean_{what}"] == MARGIN[precision] * info.mean_error[what]
    assert info.gate is not None
    assert info.tolerance["negative_elbo"] >= info.gate.max_delta_elbo


@pytest.mark.parametrize("stored_as", ["onnx", "ort"])
@pytest.mark.parametrize("precision", ["fp32", *OTHERS])
def test_every_precision_replays_the_golden_vectors_in_both_formats(made: Made, precision: str, stored_as: str) -> None:
    vae = made.open(precision, format=stored_as)
    assert all(deviation.passed for deviation in vaekit.verify_bundle(vae.bundle, vae))
    assert vae.precision == precision


def test_rates_and_machine_are_stated(made: Made) -> None:
    for info in made.bundle.manifest.precisions.values():
        assert list(info.rates) == ["encoder", "decoder"]
        for rates in info.rates.values():
            assert list(rates) == ["1", "64", "1024"]
            assert all(rate > 0 for rate in rates.values())
        assert list(info.measured_on) == ["processor", "cores", "threads", "onnxruntime"]


def test_int8_says_how_it_was_calibrated(made: Made) -> None:
    calibration = made.bundle.manifest.precisions["int8"].calibration
    assert (calibration["items"], calibration["codes"], calibration["chosen_on"]) == (64, 128, 64)
    for half in ("encoder", "decoder"):
        losses = calibration[half]["negative_elbo"]
        assert set(losses) == {"minmax", "percentile", "entropy"}
        least = min(losses.values())
        assert losses[calibration[half]["method"]] == least
        assert set(calibration[half]["negative_elbo_by_scale"]) == {"channel", "tensor"}
        assert calibration[half]["negative_elbo_by_scale"]["channel"] == least
    assert "calibrating the decoder for int8 (entropy)" in made.steps


def weight_scales(model: onnx.ModelProto) -> set[int]:
    """How many axes the scales of int8 weights have: 0 where there is one a tensor, 1 where there is one a channel."""
    values = constants(model)
    return {
        values[node.input[1]].ndim
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in values and values[node.input[0]].ndim > 1
    }


@pytest.mark.parametrize(("more", "scale_each"), [(0.9, "tensor"), (1.1, "channel")])
def test_one_scale_a_tensor_may_lose_a_tenth_of_what_the_gate_allows(
    export: Export, monkeypatch: pytest.MonkeyPatch, more: float, scale_each: str
) -> None:
    losses = [
        103.0,
        102.0,
        104.0,
        102.0 + 0.1 * more * 5,
    ]  # three methods with one a channel, the best of them with one a tensor
    left = losses * 2
    monkeypatch.setattr(candidates, "_negative_elbo", lambda *_: left.pop(0))
    bundle = export(precisions=("int8",), gate=Gate(5.0, "nats", min_gain=1.0, force=True))
    assert left == []
    calibration = bundle.manifest.precisions["int8"].calibration
    for half in ("encoder", "decoder"):
        assert calibration[half]["scale_each"] == scale_each
        assert calibration[half]["negative_elbo_by_scale"] == {"channel": 102.0, "tensor": losses[3]}
        model = onnx.load(bundle.path / f"{half}.int8.onnx")
        assert weight_scales(model) == {0 if scale_each == "tensor" else 1}


def test_reports_tell_what_the_manifest_tells(made: Made) -> None:
    assert [report.name for report in made.reports] == ["fp32", *OTHERS]
    for report in made.reports:
        assert (report.shipped, report.required, report.reasons) == (True, True, ())
        stated = made.bundle.manifest.precisions[report.name]
        for half in ("encoder", "decoder"):  # the files in ORT format are written last
            stated = stated.replace(**{half: getattr(stated, half).replace(ort=None)})
        assert report.info.to_json() == stated.to_json()


def test_no_file_names_a_local_path(made: Made) -> None:
    for path in made.bundle.path.iterdir():
        content = path.read_bytes()
        for leak in (str(made.bundle.path.parent), "/tmp/", "site-packages", str(Path.cwd())):
            assert leak.encode() not in content, f"{path.name} names {leak}"


def test_the_card_has_a_row_a_precision(made: Made) -> None:
    card, manifest = (made.bundle.path / "README.md").read_text(), made.bundle.manifest
    assert card == model_card(manifest)
    for name, info in manifest.precisions.items():
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {name} |")]
        assert f"| {info.bytes:,} |" in row
        if info.delta_elbo is not None:
            assert f"| {info.delta_elbo:+.3f} |" in row
            assert row.endswith("| passed |")
    assert "int8-dynamic: an item's numbers depend on the rest of its batch." in card


def test_convolutions_take_both_too(made_of_convolutions: Made) -> None:
    bundle = made_of_convolutions.bundle
    assert list(bundle.manifest.precisions) == ["fp32", "fp16", "int8"]  # in the format's order
    for half in ("encoder", "decoder"):  # no other kind of scale is tried
        notes = bundle.manifest.precisions["int8"].calibration[half]
        assert (notes["scale_each"], list(notes["negative_elbo_by_scale"])) == ("channel", ["channel"])
        assert weight_scales(onnx.load(bundle.path / f"{half}.int8.onnx")) == {1}
    for name in bundle.manifest.precisions:
        vae = made_of_convolutions.open(name)
        assert all(deviation.passed for deviation in vaekit.verify_bundle(vae.bundle, vae))
        np.testing.assert_allclose(vae.sample(9), made_of_convolutions.open("fp32").sample(9), atol=0.1)


@pytest.mark.parametrize(("pair", "data"), [("ae_pair", "small_dataset"), ("gaussian_pair", "real_dataset")])
def test_other_kinds_of_models_take_all_three(
    request: pytest.FixtureRequest, tmp_path: Path, pair: str, data: str
) -> None:
    made = Made(request.getfixturevalue(pair), request.getfixturevalue(data), tmp_path / "bundle", OTHERS)
    assert [report.reasons for report in made.reports] == [(), (), (), ()]
    for name in OTHERS:
        vae = made.open(name)
        assert all(deviation.passed for deviation in vaekit.verify_bundle(vae.bundle, vae))
        x = made.data.test.pixels(slice(None))
        lost = vae.score(x, seed=0).mean() - made.open("fp32").score(x, seed=0).mean()
        assert vae.manifest.precisions[name].delta_elbo == pytest.approx(lost, abs=0.05)


def test_errors_of_series_are_in_standardised_units_and_beyond_what_float32_holds(
    series_model: Exported, tmp_path: Path
) -> None:
    parts = (Split(series_model.items(100, seed=seed)) for seed in (1, 2))
    made = Made(series_model.pair, Dataset("series", "series", "0" * 64, *parts), tmp_path / "bundle", ("fp16", "int8"))
    x, units = made.data.test.pixels(slice(None)), series_model.pair.spec.data.units
    z = made.open("fp32").encode(x).sample(seed=0)
    wanted = made.open("fp32").decode(z).astype(np.float64)
    for name in ("fp16", "int8"):
        found = made.open(name).decode(z)
        gap = np.maximum(0, np.abs(found - wanted) - 2.0**-21 * np.abs(wanted)) / units  # values near 100,000
        info = made.bundle.manifest.precisions[name]
        assert info.error["decoder"] == pytest.approx(gap.max(), rel=1e-4)
        assert info.mean_error["decoder"] == pytest.approx(gap.mean(), rel=1e-4)
        assert info.error["decoder"] < 0.2
        assert all(deviation.passed for deviation in vaekit.verify_bundle(made.bundle, made.open(name)))


def test_without_other_precisions_the_bundle_is_what_it_was(small_bundle: Path) -> None:
    info = Bundle.open(small_bundle).manifest.precisions["fp32"].to_json()
    assert set(info) == {"encoder", "decoder", "error", "quality"}


# Names.


@pytest.mark.parametrize(
    ("names", "required", "optional"),
    [
        (("fp32",), (), ()),
        ((), (), ()),
        (("int8",), ("int8",), ()),
        (("fp32", "int8", "int8", "fp16"), ("int8", "fp16"), ()),
        (("auto",), (), ("fp16", "int8")),
        (("auto", "int8"), ("int8",), ("fp16",)),
    ],
)
def test_names_are_sorted_out(names: tuple[str, ...], required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    wanted = wanted_precisions(names)
    assert (wanted.required, wanted.optional) == (required, optional)


@pytest.mark.parametrize("name", ["int4", "", "INT8", "fp32 ", "bf16"])
def test_an_unknown_precision_is_refused_before_the_work(name: str, small_pair: ModulePair, tmp_path: Path) -> None:
    message = rf"precision='{name}' is unknown; choose of fp32, fp16, int8, int8-dynamic, auto\."
    with pytest.raises(ConfigError, match=message):
        export_bundle(small_pair, tmp_path / "bundle", precisions=("fp32", name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("same_graphs")
def test_fp32_is_there_where_nobody_named_it(small_pair: ModulePair, small_dataset: Dataset, tmp_path: Path) -> None:
    bundle = export_bundle(
        small_pair, tmp_path / "b", data=small_dataset, precisions=iter(["int8"]), gate=ANY_GAIN, calibration_items=32
    )
    assert list(bundle.manifest.precisions) == ["fp32", "int8"]


# The gate.


Export = Callable[..., Bundle]


@pytest.fixture
def export(request: pytest.FixtureRequest, small_pair: ModulePair, small_dataset: Dataset, tmp_path: Path) -> Export:
    """Export `small_pair` quickly into a folder of this test."""
    request.getfixturevalue("same_graphs")

    def run(**options: Any) -> Bundle:
        options = {"data": small_dataset, "calibration_items": 32, **options}
        return export_bundle(small_pair, tmp_path / "bundle", **options)

    return run


NOTHING_LOST = Gate(max_delta_elbo=-1e3, unit="nats", min_gain=1.0)


def test_a_variant_that_loses_too_much_does_not_ship_and_a_warning_says_why(export: Export) -> None:
    with pytest.warns(
        UserWarning, match=r"fp16 is not in the bundle: it loses .* nats of the ELBO; the limit is -1e\+03\."
    ):
        bundle = export(precisions=("fp32", "fp16"), gate=NOTHING_LOST)
    assert list(bundle.manifest.precisions) == ["fp32"]
    assert not list(bundle.path.glob("*fp16*"))
    assert bundle.manifest.precisions["fp32"].rates  # fp32's are still worth having


def test_a_variant_that_is_not_worth_it_does_not_ship(export: Export) -> None:
    reports: list[Report] = []
    bundle = export(precisions=("fp16",), gate=Gate(0.05, min_gain=50.0), on_variant=reports.append)
    assert list(bundle.manifest.precisions) == ["fp32"]
    (reason,) = reports[1].reasons
    assert reason.startswith("it is 1.9")
    assert reason.endswith("at best 1.00 times faster (encoder, batch 1); one must be 50")
    assert not reports[1].shipped


def test_what_may_fail_fails_without_a_warning(export: Export) -> None:
    bundle = export(precisions=("auto",), gate=NOTHING_LOST)  # warnings are errors here
    assert list(bundle.manifest.precisions) == ["fp32"]
    bundle = export(precisions=("auto",), gate=ANY_GAIN, overwrite=True)
    assert list(bundle.manifest.precisions) == ["fp32", "fp16", "int8"]


def test_force_ships_it_marked_with_the_reason(export: Export) -> None:
    bundle = export(precisions=("int8",), gate=NOTHING_LOST._replace(force=True))
    gate = bundle.manifest.precisions["int8"].gate
    assert gate is not None
    assert gate.result == "forced"
    assert gate.reasons[0].startswith("it loses")
    card = (bundle.path / "README.md").read_text()
    assert f"int8 did not pass the gate and was shipped by force: {gate.reasons[0]}." in card
    assert "| forced |" in card


def test_the_last_layer_stays_in_float_where_all_integers_lose_too_much(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    def all_but_the_fourth(measured: Any, *_: Any) -> tuple[str, ...]:
        tried.append(measured.delta_elbo)
        return () if len(tried) == 4 else ("too much",)

    monkeypatch.setattr(variants, "lost_too_much", all_but_the_fourth)
    bundle = export(precisions=("int8",), gate=ANY_GAIN)
    info = bundle.manifest.precisions["int8"]
    assert len(tried) == 4  # none, the encoder's two, the decoder's one, all
    assert {half: len(nodes) for half, nodes in info.float_nodes.items()} == {"encoder": 2, "decoder": 1}
    for half in ("encoder", "decoder"):
        model = onnx.load(bundle.path / f"{half}.int8.onnx")
        before = constants(onnx.load(bundle.path / f"{half}.onnx"))
        after = constants(model)
        for node in model.graph.node:
            if node.name in info.float_nodes[half]:
                np.testing.assert_array_equal(after[node.input[1]], before[node.input[1]])
    assert (
        "int8 keeps the last layer of the encoder and of the decoder in float."
        in (bundle.path / "README.md").read_text()
    )


def test_all_integers_are_tried_first_then_the_smaller_file_with_one_layer_in_float(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    opened = variants.open_variant

    def noting(vae: Any, name: str, graphs: Any) -> Any:
        sizes.append(len(graphs.encoder) + len(graphs.decoder))
        return opened(vae, name, graphs)

    for module in (candidates, variants):
        monkeypatch.setattr(module, "open_variant", noting)
    monkeypatch.setattr(variants, "lost_too_much", lambda *_: ("too much",))
    with pytest.warns(UserWarning, match="int8 is not in the bundle: too much"):
        export(precisions=("int8",), gate=ANY_GAIN)
    tried = sizes[8:12]  # after three methods and another kind of scale for each half
    assert len(tried) == len(set(tried)) == 4
    assert tried[1] < tried[2]
    # The layer that each of the two keeps in float is kept by the last one as well.
    assert tried[3] - tried[0] == (tried[1] - tried[0]) + (tried[2] - tried[0])


def broken(content: bytes) -> bytes:
    """A graph of which a bias is no number."""
    model = onnx.load_from_string(content)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16 and list(tensor.dims) in ([784], [5]):
            tensor.CopyFrom(numpy_helper.from_array(np.full(tensor.dims, np.nan, np.float16), tensor.name))
    return model.SerializeToString()


def test_what_gives_nan_never_ships(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "to_float16", lambda content: broken(to_float16(content)))
    from vaekit.exporting.float16 import to_float16

    reports: list[Report] = []
    bundle = export(precisions=("fp16",), gate=ANY_GAIN._replace(force=True), on_variant=reports.append)
    assert list(bundle.manifest.precisions) == ["fp32"]
    assert reports[1].reasons == (
        "it gives a NaN or an infinity on samples of the prior",
        "it gives a NaN or an infinity on test items",
    )
    assert reports[1].info.to_json()  # without a number that JSON has not


def test_a_variant_that_does_not_replay_leaves_no_bundle(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variants, "MARGIN", {"int8": 1e-3})
    message = r"does not replay its golden vectors: int8 \(onnx\), encode mean, batch 1 differs by"
    with pytest.raises(VerificationError, match=message):
        export(precisions=("int8",), gate=ANY_GAIN)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_bundle_that_was_there(
    export: Export, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in bundle_copy.iterdir()}
    with pytest.raises(OutputError, match="exists already"):
        export(precisions=("fp16",))
    monkeypatch.setattr(candidates, "to_float16", lambda _: (_ for _ in ()).throw(ExportError("no.")))
    with pytest.raises(ExportError, match=r"no\."):
        export(precisions=("fp16",), overwrite=True)
    assert {path.name: path.read_bytes() for path in bundle_copy.iterdir()} == before


# Bad input.


@pytest.mark.usefixtures("same_graphs")
def test_too_few_items_to_calibrate_on_leave_no_bundle(
    small_pair: ModulePair, small_dataset: Dataset, tmp_path: Path
) -> None:
    few = Dataset("few", "few", "0" * 64, Split(small_dataset.train.items[:63]), small_dataset.test)
    with pytest.raises(DataError, match="int8 takes 64 training items at least"):
        export_bundle(small_pair, tmp_path / "bundle", data=few, precisions=("int8",))
    assert list(tmp_path.iterdir()) == []
    # fp16 needs none.
    bundle = export_bundle(small_pair, tmp_path / "bundle", data=few, precisions=("fp16",), gate=ANY_GAIN)
    assert "fp16" in bundle.manifest.precisions


def test_too_few_calibration_items_are_refused(export: Export, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="calibration_items=31: fewer than 32 items say little about a range"):
        export(precisions=("int8",), calibration_items=31)
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_shape_is_refused(small_pair: ModulePair, image_data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(
        ShapeError, match=r"the data has items of shape \(1, 16, 16\), but the model takes \(1, 28, 28\)"
    ):
        export_bundle(small_pair, tmp_path / "bundle", data=image_data, precisions=("int8",))


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.usefixtures("same_graphs")
def test_data_of_one_constant_value_works(small_pair: ModulePair, tmp_path: Path, value: int) -> None:
    part = Split(np.full((80, 1, 28, 28), value, np.uint8))
    data = Dataset("flat", "flat", "0" * 64, part, part)
    reports: list[Report] = []
    bundle = export_bundle(
        small_pair,
        tmp_path / "bundle",
        data=data,
        precisions=("int8", "fp16"),
        gate=Gate(0.5, min_gain=1.0),
        calibration_items=32,
        on_variant=reports.append,
    )
    assert [report.reasons for report in reports] == [(), (), ()]
    vae = vaekit.load(bundle.path, provider="cpu", threads=1, precision="int8")
    assert np.isfinite(vae.sample(20)).all()
    assert vae.reconstruct(part.pixels(slice(3))) == pytest.approx(
        vaekit.load(bundle.path, provider="cpu", threads=1).reconstruct(part.pixels(slice(3))), abs=0.1
    )


def test_dynamic_int8_of_convolutions_is_refused(image_model: Exported, image_data: Dataset, tmp_path: Path) -> None:
    message = (
        "int8-dynamic was asked for, but the encoder has 2 convolutions: ONNX Runtime's dynamic ones "
        r"\(ConvInteger\) are many times slower than float, or missing; take int8, which is static\."
    )
    with pytest.raises(ExportError, match=message):
        export_bundle(image_model.pair, tmp_path / "bundle", data=image_data, precisions=("int8-dynamic",))
    assert list(tmp_path.iterdir()) == []


def test_a_precision_that_is_not_in_the_bundle_is_named_with_those_that_are(made_of_convolutions: Made) -> None:
    from vaekit.errors import BundleError

    message = r"precision='int8-dynamic' is not in the bundle 'squares', which has fp32, fp16, int8\."
    with pytest.raises(BundleError, match=message):
        made_of_convolutions.open("int8-dynamic")


def test_a_changed_variant_is_refused_when_the_bundle_is_opened(made: Made, tmp_path: Path) -> None:
    from vaekit.errors import IntegrityError

    copy = Path(shutil.copytree(made.bundle.path, tmp_path / "copy"))
    content = bytearray((copy / "decoder.int8.onnx").read_bytes())
    content[-1] ^= 1
    (copy / "decoder.int8.onnx").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"decoder\.int8\.onnx was changed"):
        vaekit.load(copy, provider="cpu")
