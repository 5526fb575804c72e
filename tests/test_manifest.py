"""manifest.json: what it says is what exports/README.md specifies, and anything else is refused.

The manifest here is written by hand from that page, not by the code.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from vaekit.errors import BundleError, BundleVersionError, ConfigError, IntegrityError
from vaekit.manifest import FILE_LIMIT, Manifest

HASHES = [digit * 64 for digit in "0123456789abcdef"]
ITEM, CODE = ["batch", 1, 28, 28], ["batch", 2]


def port(name: str, shape: list[Any]) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": shape}


VALID: dict[str, Any] = {
    "format": "vaekit-bundle",
    "version": 1,
    "name": "Ziffern, 数字",
    "kind": "vae",
    "data": {"shape": [1, 28, 28], "dtype": "float32", "layout": "CHW", "range": [0.0, 1.0]},
    "latent": {
        "shape": [2],
        "prior": "standard-normal",
        "statistics": {"items": 60000, "mean": [0.25, -1.0], "std": [1.0, 0.5], "kl": [2.5, 0.0], "active": [0]},
    },
    "posterior": {"family": "diagonal-gaussian/log-variance", "outputs": ["mean", "log_var"]},
    "likelihood": {"name": "bernoulli", "decoder_emits": "mean", "range": [0.0, 1.0]},
    "noise": "splitmix64-boxmuller-1",
    "precisions": {
        "fp32": {
            "encoder": {
                "file": "encoder.onnx",
                "bytes": 100,
                "sha256": HASHES[1],
                "opset": 18,
                "ir_version": 8,
                "inputs": [port("x", ITEM)],
                "outputs": [port("mean", CODE), port("log_var", CODE)],
            },
            "decoder": {
                "file": "decoder.onnx",
                "bytes": 200,
                "sha256": HASHES[2],
                "opset": 18,
                "ir_version": 8,
                "inputs": [port("z", CODE)],
                "outputs": [port("x_hat", ITEM)],
            },
            "error": {"encoder": 1e-6, "decoder": 2e-7, "round_trip": 3e-7},
            "quality": {"items": 10000, "negative_elbo": 104.5, "reconstruction": 79.25, "kl": 25.25},
        }
    },
    "tolerances": {"cpu": 1e-5, "cuda": 1e-4, "cuda-tf32": 5e-3, "other": 1e-3},
    "golden": {"file": "golden.npz", "bytes": 300, "sha256": HASHES[3], "items": 64, "seed": 0},
    "extra_files": [{"file": "README.md", "bytes": 0, "sha256": HASHES[4]}],
    "made_by": {"versions": {"vaekit": "0.1.0"}},
}


def read(value: Any) -> Manifest:
    return Manifest.from_bytes(json.dumps(value).encode())


def refusal(value: Any) -> BundleError | None:
    try:
        read(value)
    except BundleError as error:
        return error
    return None


def changed(path: str, new: Any) -> dict[str, Any]:
    """The valid manifest with one field replaced; path steps are joined by '/'."""
    value = copy.deepcopy(VALID)
    inner: Any = value
    *steps, last = path.split("/")
    for step in steps:
        inner = inner[int(step) if step.isdigit() else step]
    inner[int(last) if last.isdigit() else last] = new
    return value


def field_paths(value: Any, prefix: str = "") -> list[str]:
    """Paths of every field that the format requires, at any depth."""
    paths = []
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(value, dict):
            paths.append(f"{prefix}{name}")
        if isinstance(inner, (dict, list)) and name not in ("made_by", "error", "quality", "tolerances"):
            paths += field_paths(inner, f"{prefix}{name}/")
    return paths


def test_the_fields_of_a_manifest_are_read() -> None:
    manifest = read(VALID)
    assert manifest.name == "Ziffern, 数字"
    assert manifest.spec.latent == 2
    assert manifest.spec.data.shape == (1, 28, 28)
    assert manifest.statistics.std == (1.0, 0.5)
    assert manifest.statistics.active == (0,)
    assert manifest.precisions["fp32"].quality["negative_elbo"] == 104.5
    assert manifest.graph("encoder", "fp32").file.sha256 == HASHES[1]
    assert manifest.graph("decoder", "fp32").outputs[0].shape == ("batch", 1, 28, 28)
    assert (manifest.golden_items, manifest.golden_seed) == (64, 0)
    assert [file.file for file in manifest.files()] == ["encoder.onnx", "decoder.onnx", "golden.npz", "README.md"]


def test_a_manifest_is_written_as_it_was_read() -> None:
    content = read(VALID).to_bytes()
    assert json.loads(content) == VALID
    assert list(json.loads(content)) == list(VALID)  # in the order of the specification
    assert content.endswith(b"}\n")
    assert "数字".encode() in content


def test_whole_numbers_stay_whole() -> None:
    assert b'"items": 10000,' in read(VALID).to_bytes()


def test_a_manifest_that_holds_no_number_is_not_written() -> None:
    manifest = read(VALID).replace(tolerances={"cpu": float("nan"), "other": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        manifest.to_bytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"{", b"no", b'{"format": "vaekit-bundle"', b"[" * 200_000, json.dumps(VALID).encode()[:-1]],
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"manifest\.json is no valid JSON"):
        Manifest.from_bytes(content)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_json_does_not_have_are_refused(constant: str) -> None:
    content = json.dumps(VALID).replace("104.5", constant).encode()
    with pytest.raises(IntegrityError, match=f"no valid JSON: {constant} is no JSON number"):
        Manifest.from_bytes(content)


@pytest.mark.parametrize("number", ["104.5", "1e-05", "0.25", "2.5"])
def test_a_number_that_overflows_to_infinity_is_refused(number: str) -> None:
    text = json.dumps(VALID)
    assert number in text
    with pytest.raises(BundleError, match="is inf, which is not finite"):
        Manifest.from_bytes(text.replace(number, "1e999").encode())


@pytest.mark.parametrize("path", ["tolerances/cpu", "latent/statistics/mean", "data/range"])
def test_a_whole_number_beyond_every_double_is_refused(path: str) -> None:
    new: Any = [0, 10**400] if path != "tolerances/cpu" else 10**400
    with pytest.raises(BundleError, match="too large to convert to float"):
        read(changed(path, new))


@pytest.mark.parametrize("value", [[], None, 3, {}, {"format": "onnx"}, changed("format", "vaekit-bundle-2")])
def test_another_format_is_refused(value: Any) -> None:
    with pytest.raises(BundleVersionError, match="does not say format 'vaekit-bundle', so this is no vaekit bundle"):
        read(value)


@pytest.mark.parametrize("version", [2, 0, "1", None, True, 1.5])
def test_another_version_is_refused(version: Any) -> None:
    message = f"the bundle has format version {version!r}, but this vaekit reads version 1; upgrade vaekit"
    with pytest.raises(BundleVersionError, match=message):
        read(changed("version", version))


@pytest.mark.parametrize("noise", ["splitmix64-boxmuller-2", "numpy", None, 1])
def test_an_unknown_noise_is_refused(noise: Any) -> None:
    message = f"the bundle's noise is {noise!r}, but this vaekit makes 'splitmix64-boxmuller-1'"
    with pytest.raises(BundleVersionError, match=message):
        read(changed("noise", noise))


@pytest.mark.parametrize("path", field_paths(VALID))
def test_a_manifest_without_one_of_its_fields_is_refused(path: str) -> None:
    value = copy.deepcopy(VALID)
    inner: Any = value
    *steps, last = path.split("/")
    for step in steps:
        inner = inner[int(step) if step.isdigit() else step]
    del inner[last]
    with pytest.raises(BundleError, match=last):
        read(value)


@pytest.mark.parametrize("path", field_paths(VALID))
def test_a_field_of_another_type_is_refused(path: str) -> None:
    now: Any = VALID
    for step in path.split("/"):
        now = now[int(step) if step.isdigit() else step]
    for new in (None, True, 1.5, 7, "text", [None], {"a": None}):
        if type(new) is not type(now) and not (path == "made_by" and isinstance(new, dict)):
            assert refusal(changed(path, new)), f"{path} = {new!r} was read"


@pytest.mark.parametrize("section", ["precisions/fp32/error", "precisions/fp32/quality", "tolerances"])
@pytest.mark.parametrize("new", ["1", True, None, [1.0]])
def test_a_measured_number_that_is_none_is_refused(section: str, new: Any) -> None:
    with pytest.raises(BundleError, match=r"missing or malformed field: .*which is no number"):
        read(changed(f"{section}/other", new))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../x",
            "..",
            ".",
            "",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "C:x",
            "sub/../x",
            ".hidden",
            "-rf",
            "a b",
            "x\n",
            "x\0",
        ),
        *("ünicode", "~root", "a" * 101, "\u202egnp.exe"),
    ],
)
@pytest.mark.parametrize("field", ["precisions/fp32/encoder", "precisions/fp32/decoder", "golden", "extra_files/0"])
def test_a_file_outside_the_folder_is_refused(field: str, name: str) -> None:
    with pytest.raises(IntegrityError, match="which is no plain name inside the bundle"):
        read(changed(f"{field}/file", name))


def test_a_name_of_a_hundred_characters_is_plain() -> None:
    assert read(changed("golden/file", "g" * 100)).golden.file == "g" * 100


@pytest.mark.parametrize("size", [-1, FILE_LIMIT + 1, 2**63])
def test_a_size_beyond_the_limit_is_refused(size: int) -> None:
    with pytest.raises(IntegrityError, match=f"states {size} bytes for golden.npz; the limit is 2147483647"):
        read(changed("golden/bytes", size))


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"])
def test_a_hash_that_is_none_is_refused(digest: str) -> None:
    with pytest.raises(IntegrityError, match="not 64 lower-case hex digits"):
        read(changed("golden/sha256", digest))


@pytest.mark.parametrize("path", ["precisions/fp32/decoder/file", "golden/file", "extra_files/0/file"])
def test_one_file_named_twice_is_refused(path: str) -> None:
    with pytest.raises(IntegrityError, match="the manifest names one file twice"):
        read(changed(path, "encoder.onnx"))


def test_a_model_description_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(BundleError, match=r"manifest\.json: data\.layout is 'HWC'"):
        read(changed("data/layout", "HWC"))


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("encoder/inputs", [port("image", ITEM)]),
        ("encoder/inputs", [port("x", ["batch", 784])]),
        ("encoder/inputs", [port("x", [1, 1, 28, 28])]),
        ("encoder/inputs", [{**port("x", ITEM), "dtype": "float16"}]),
        ("encoder/inputs", [port("x", ITEM), port("seed", ["batch"])]),
        ("encoder/outputs", [port("log_var", CODE), port("mean", CODE)]),
        ("encoder/outputs", [port("mean", CODE)]),
        ("decoder/inputs", [port("z", ["batch", 3])]),
        ("decoder/outputs", [port("x_hat", ["batch", 28, 28])]),
        ("decoder/outputs", []),
    ],
)
def test_ports_that_do_not_fit_the_model_are_refused(path: str, new: Any) -> None:
    half = path.split("/", maxsplit=1)[0]
    with pytest.raises(
        BundleError, match=f"the fp32 {half} has inputs and outputs .* but the model's description asks"
    ):
        read(changed(f"precisions/fp32/{path}", new))


@pytest.mark.parametrize("size", [None, 1.5, True, [1]])
def test_a_port_with_something_that_is_no_size_is_refused(size: Any) -> None:
    with pytest.raises(BundleError, match="holds something that is no size"):
        read(changed("precisions/fp32/encoder/inputs/0/shape", ["batch", size]))


def test_ports_of_every_precision_are_checked() -> None:
    value = changed("precisions/int8", copy.deepcopy(VALID["precisions"]["fp32"]))
    value["precisions"]["int8"]["encoder"]["inputs"][0]["dtype"] = "uint8"
    with pytest.raises(BundleError, match="the int8 encoder has inputs and outputs"):
        read(value)


@pytest.mark.parametrize("precisions", [{}, {"int8": VALID["precisions"]["fp32"]}])
def test_a_bundle_without_fp32_graphs_is_refused(precisions: Any) -> None:
    with pytest.raises(BundleError, match="the bundle has no fp32 graphs; export the model again"):
        read(changed("precisions", precisions))


@pytest.mark.parametrize(
    ("path", "new"), [("mean", [0.0]), ("std", [1.0, 1.0, 1.0]), ("kl", [0.5]), ("mean", [])], ids=str
)
def test_statistics_of_another_number_of_dimensions_are_refused(path: str, new: Any) -> None:
    with pytest.raises(BundleError, match="do not have one number for each of 2 dimensions"):
        read(changed(f"latent/statistics/{path}", new))


@pytest.mark.parametrize("active", [[2], [-1], [0, 7]])
def test_an_active_dimension_that_is_not_there_is_refused(active: list[int]) -> None:
    with pytest.raises(BundleError, match=r"calls dimensions \[.*\] active, but there are 2"):
        read(changed("latent/statistics/active", active))


@pytest.mark.parametrize(
    ("path", "new"), [("mean", ["0.5", 1.0]), ("std", [True, 1.0]), ("kl", [None, 1.0]), ("active", [0.5])], ids=str
)
def test_statistics_that_are_no_numbers_are_refused(path: str, new: Any) -> None:
    with pytest.raises(BundleError, match=f"missing or malformed field: '{path}' is"):
        read(changed(f"latent/statistics/{path}", new))


@pytest.mark.parametrize("tolerances", [{}, {"cpu": 1e-5}, {"other": -1e-3}, {"cpu": -1, "other": 1e-3}])
def test_tolerances_that_cover_not_every_provider_or_are_negative_are_refused(tolerances: Any) -> None:
    with pytest.raises(BundleError, match="each is at least 0, and 'other' is one"):
        read(changed("tolerances", tolerances))


@pytest.mark.parametrize(("field", "number"), [("items", 0), ("items", -64), ("seed", -1), ("seed", 2**64)])
def test_golden_vectors_that_prove_nothing_are_refused(field: str, number: int) -> None:
    with pytest.raises(BundleError, match=r"golden items for seed .* which prove nothing"):
        read(changed(f"golden/{field}", number))


def test_the_largest_seed_is_a_seed() -> None:
    assert read(changed("golden/seed", 2**64 - 1)).golden_seed == 2**64 - 1


def test_a_precision_that_is_not_there_is_named_with_those_that_are() -> None:
    manifest = read(changed("precisions/int8", {**_renamed("int8")}))
    assert manifest.graph("decoder", "int8").file.file == "decoder.int8.onnx"
    with pytest.raises(BundleError, match=r"precision='fp16' is not in the bundle 'Ziffern.*', which has fp32, int8\."):
        manifest.graph("encoder", "fp16")


def test_a_half_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"half='middle' is unknown; choose one of encoder, decoder\."):
        read(VALID).graph("middle", "fp32")


def _renamed(precision: str) -> dict[str, Any]:
    info = copy.deepcopy(VALID["precisions"]["fp32"])
    for half in ("encoder", "decoder"):
        info[half]["file"] = f"{half}.{precision}.onnx"
    return info


# Other precisions.

VARIANT: dict[str, Any] = {
    **_renamed("int8"),
    "mean_error": {"encoder": 0.01, "decoder": 0.002, "round_trip": 0.003},
    "delta_elbo": -0.05,
    "tolerance": {"encoder": 0.2, "mean_encoder": 0.02, "negative_elbo": 0.5},
    "gate": {"result": "forced", "reasons": ["it is slow"], "max_delta_elbo": 0.5, "min_gain": 1.2},
    "rates": {"encoder": {"1": 100.0, "64": 2000}, "decoder": {"1": 150.5}},
    "measured_on": {"processor": "a processor", "cores": 2, "threads": 1, "onnxruntime": "1.2.3"},
    "float_nodes": {"decoder": ["last"]},
    "calibration": {"items": 512, "encoder": {"method": "minmax"}},
    "batch_dependent": True,
}
ORT = {"file": "decoder.int8.ort", "bytes": 50, "sha256": HASHES[5]}


def with_variant(**changes: Any) -> dict[str, Any]:
    return changed("precisions/int8", {**copy.deepcopy(VARIANT), **changes})


def test_the_fields_of_a_variant_are_read() -> None:
    info = read(with_variant()).precisions["int8"]
    assert info.delta_elbo == -0.05
    assert info.mean_error["decoder"] == 0.002
    assert info.tolerance["negative_elbo"] == 0.5
    assert info.gate is not None
    assert (info.gate.result, info.gate.reasons, info.gate.min_gain) == ("forced", ("it is slow",), 1.2)
    assert info.rates["encoder"]["64"] == 2000
    assert info.measured_on["onnxruntime"] == "1.2.3"
    assert info.float_nodes == {"decoder": ("last",)}
    assert info.calibration["items"] == 512
    assert info.batch_dependent is True
    assert info.bytes == 300


def test_a_variant_is_written_as_it_was_read() -> None:
    value = with_variant(decoder={**VARIANT["decoder"], "ort": ORT})
    assert json.loads(read(value).to_bytes()) == value


def test_a_precision_without_the_fields_of_variants_has_none() -> None:
    info = read(VALID).precisions["fp32"]
    assert (info.delta_elbo, info.gate, info.batch_dependent) == (None, None, False)
    for measured in (info.mean_error, info.tolerance, info.rates, info.measured_on, info.float_nodes, info.calibration):
        assert measured == {}


def test_the_committed_bundle_is_read_whatever_it_has() -> None:
    # It was made before there were other precisions, and must stay readable.
    folder = Path(__file__).parents[1] / "exports" / "mnist"
    assert "fp32" in Manifest.from_bytes((folder / "manifest.json").read_bytes()).precisions


@pytest.mark.parametrize(
    "path",
    [
        *("mean_error", "delta_elbo", "tolerance", "gate", "rates", "measured_on", "float_nodes", "calibration"),
        *("batch_dependent", "gate/result", "gate/reasons", "gate/max_delta_elbo", "gate/min_gain", "rates/encoder"),
        *("float_nodes/decoder", "rates/decoder/1", "mean_error/encoder", "tolerance/encoder", "gate/reasons/0"),
    ],
)
def test_a_variants_field_of_another_type_is_refused(path: str) -> None:
    now: Any = VARIANT
    for step in path.split("/"):
        now = now[int(step) if step.isdigit() and isinstance(now, list) else step]
    for new in (None, True, 1.5, 7, "text", [None], {"a": None}):
        kinds = (type(new), type(now))
        if kinds[0] is kinds[1] or set(kinds) == {int, float} or path in ("measured_on", "calibration"):
            continue
        value = with_variant()
        inner = value["precisions"]["int8"]
        *steps, last = path.split("/")
        for step in steps:
            inner = inner[step]
        inner[int(last) if isinstance(inner, list) else last] = new
        assert refusal(value), f"{path} = {new!r} was read"


@pytest.mark.parametrize("field", ["result", "reasons", "max_delta_elbo", "min_gain"])
def test_a_gate_without_one_of_its_fields_is_refused(field: str) -> None:
    gate = {name: value for name, value in VARIANT["gate"].items() if name != field}
    with pytest.raises(BundleError, match=field):
        read(with_variant(gate=gate))


def test_a_gate_that_says_something_else_is_refused() -> None:
    message = "the manifest's gate says 'maybe', which is neither 'passed' nor 'forced'"
    with pytest.raises(BundleError, match=message):
        read(with_variant(gate={**VARIANT["gate"], "result": "maybe"}))


def test_a_negative_tolerance_of_a_precision_is_refused() -> None:
    with pytest.raises(BundleError, match=r"tolerances of a precision are .*; each is at least 0"):
        read(with_variant(tolerance={"encoder": -1e-9}))


def test_a_file_in_ort_format_is_one_of_the_bundles_files() -> None:
    manifest = read(with_variant(decoder={**VARIANT["decoder"], "ort": ORT}))
    assert [file.file for file in manifest.files()] == [
        *("encoder.onnx", "decoder.onnx", "encoder.int8.onnx", "decoder.int8.onnx", "decoder.int8.ort"),
        *("golden.npz", "README.md"),
    ]
    graph = manifest.graph("decoder", "int8")
    assert graph.stored("onnx").file == "decoder.int8.onnx"
    assert graph.stored("ort").sha256 == HASHES[5]


@pytest.mark.parametrize("name", ["../x", "encoder.onnx"])
def test_a_file_in_ort_format_is_held_to_the_rules_of_files(name: str) -> None:
    with pytest.raises(IntegrityError, match=r"no plain name inside the bundle|names one file twice"):
        read(with_variant(decoder={**VARIANT["decoder"], "ort": {**ORT, "file": name}}))


def test_a_format_that_the_graph_is_not_stored_in_is_refused() -> None:
    graph = read(VALID).graph("decoder", "fp32")
    with pytest.raises(
        BundleError, match=r"format='ort' was asked for, but decoder\.onnx is in the bundle as ONNX alone"
    ):
        graph.stored("ort")
    with pytest.raises(ConfigError, match=r"format='tflite' is unknown; choose one of onnx, ort\."):
        graph.stored("tflite")
