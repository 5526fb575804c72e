"""The target triton: config.pbtxt read by Triton's own message, the graphs served over HTTP, the self-test against both.

Two servers: KServe from PyPI (`make kserve`; in an environment of its own, for it wants older packages than ours), and one of a
few lines on Python's http.server, which also gives the wrong answers that a self-test must notice.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import importlib.util
import json
import os
import re
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import onnx
import onnxruntime
import pytest

import vaekit
from vaekit.bundle import Bundle
from vaekit.embedding import embed
from vaekit.errors import ConfigError
from vaekit.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]

KSERVE = Path(os.environ.get("VAEKIT_KSERVE", ROOT / ".venv" / "kserve" / "bin" / "python"))
"""The Python of an environment that has kserve and onnxruntime."""

READY_WITHIN = 300.0
"""Seconds that KServe may take to begin: a few where nothing else runs, for it imports much."""

Change = Callable[[str, dict[str, Any]], Any]


@pytest.fixture(scope="module")
def project(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embed("triton", small_bundle, tmp_path_factory.mktemp("triton") / "project")


def model_config(path: Path) -> Any:
    """Read a config.pbtxt into the message that Triton's own client is built with."""
    from google.protobuf import text_format

    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.fail("tritonclient, which has Triton's ModelConfig, is not installed; it is part of the extra dev")
    # The file by itself: its package wants a protobuf that is older than the file does.
    file = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    name = "vaekit_tests_model_config_pb2"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return text_format.Parse(path.read_text(), sys.modules[name].ModelConfig())


# What is written.


def test_the_repository_has_the_layout_that_triton_reads(project: Path) -> None:
    files = sorted(str(path.relative_to(project / "models")) for path in (project / "models").rglob("*"))
    expected = []
    for half in ("decoder", "encoder"):
        name = f"small_{half}"
        expected += [name, f"{name}/1", f"{name}/1/model.onnx", f"{name}/config.pbtxt"]
    assert files == expected


@pytest.mark.parametrize("bundle", ["small_bundle", "ae_bundle", "gaussian_bundle"])
def test_each_config_states_what_onnx_finds_in_its_graph(
    bundle: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = embed("triton", request.getfixturevalue(bundle), tmp_path / "p") / "models"
    assert len(list(folder.iterdir())) == 2
    for place in folder.iterdir():
        config = model_config(place / "config.pbtxt")
        graph = onnx.load(place / "1" / "model.onnx").graph
        assert config.name == place.name
        assert (config.backend, config.max_batch_size) == ("onnxruntime", 128)
        assert config.dynamic_batching.max_queue_delay_microseconds == 100
        for stated, found in ((config.input, graph.input), (config.output, graph.output)):
            assert [port.name for port in stated] == [port.name for port in found]
            for port, value in zip(stated, found, strict=True):
                dims = value.type.tensor_type.shape.dim
                assert dims[0].dim_param, "the batch is not free, and Triton refuses it"
                assert list(port.dims) == [dim.dim_value for dim in dims[1:]]
                assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
                data_type = port.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[port.data_type]
                assert data_type.name == "TYPE_FP32"


def test_the_graphs_are_those_of_the_bundle(project: Path, small_bundle: Path) -> None:
    for half in ("encoder", "decoder"):
        written = (project / "models" / f"small_{half}" / "1" / "model.onnx").read_bytes()
        assert written == (small_bundle / f"{half}.onnx").read_bytes()


def test_a_gpu_computes_in_plain_float32(project: Path) -> None:
    accelerators = model_config(
        project / "models" / "small_decoder" / "config.pbtxt"
    ).optimization.execution_accelerators
    (cuda,) = accelerators.gpu_execution_accelerator
    assert cuda.name == "cuda"
    assert dict(cuda.parameters) == {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert not accelerators.cpu_execution_accelerator


def test_the_largest_call_and_the_delay_can_be_chosen(small_bundle: Path, tmp_path: Path) -> None:
    folder = embed("triton", small_bundle, tmp_path / "p", max_batch=16, queue_delay=0)
    config = model_config(folder / "models" / "small_encoder" / "config.pbtxt")
    assert config.max_batch_size == 16
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch": 0}, "max_batch=0: give 1 to 65,536"),
        ({"max_batch": 65_537}, "max_batch=65537: give 1 to 65,536"),
        ({"queue_delay": -1}, "queue_delay=-1: give 0 to 1,000,000 microseconds"),
        ({"queue_delay": 1_000_001}, "queue_delay=1000001: give 0 to 1,000,000 microseconds"),
    ],
)
def test_numbers_out_of_range_are_refused(
    options: dict[str, int], message: str, small_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        embed("triton", small_bundle, tmp_path / "p", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_precision_whose_items_depend_on_their_batch_is_not_batched(
    bundle_copy: Path, rehash: Callable[..., None], tmp_path: Path
) -> None:
    def change(manifest: Manifest) -> Manifest:
        info = manifest.precisions["fp32"].replace(batch_dependent=True)
        return manifest.replace(precisions={**manifest.precisions, "fp32": info})

    rehash(bundle_copy, change)
    folder = embed("triton", bundle_copy, tmp_path / "p")
    for half in ("encoder", "decoder"):
        config = model_config(folder / "models" / f"small_{half}" / "config.pbtxt")
        assert not config.HasField("dynamic_batching")
        assert config.max_batch_size == 128


def test_a_name_that_says_other_things_becomes_a_plain_one(
    bundle_copy: Path, rehash: Callable[..., None], tmp_path: Path
) -> None:
    name = '../"evil"\n}\nbackend: "python" #'
    rehash(bundle_copy, lambda manifest: manifest.replace(name=name))
    folder = embed("triton", bundle_copy, tmp_path / "p")
    assert sorted(path.name for path in (folder / "models").iterdir()) == [
        *("evil_backend_python_decoder", "evil_backend_python_encoder")
    ]
    config = model_config(folder / "models" / "evil_backend_python_decoder" / "config.pbtxt")
    assert (config.name, config.backend) == ("evil_backend_python_decoder", "onnxruntime")


def test_only_folders_are_served_as_models(small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = embed("triton", small_bundle, tmp_path / "p")
    (folder / "models" / ".DS_Store").write_bytes(b"what a file manager leaves")
    (folder / "models" / "notes.txt").write_text("mine")
    (folder / "models" / ".git").mkdir()
    kserve = ModuleType("kserve")
    for name in ("Model", "InferRequest", "InferResponse"):
        setattr(kserve, name, type(name, (), {"__init__": lambda self, name: setattr(self, "name", name)}))
    started: list[str] = []
    server = type("Server", (), {"start": lambda _, models: started.extend(model.name for model in models)})
    kserve.ModelServer = lambda **_: server()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kserve", kserve)
    monkeypatch.setattr(sys, "argv", ["serve_kserve.py"])
    program = runpy.run_path(str(folder / "serve_kserve.py"))
    assert program["main"]() == 0
    assert started == ["small_decoder", "small_encoder"]


# Served by a few lines of our own.


class Served(http.server.BaseHTTPRequestHandler):
    """The v2 protocol for one repository; `change(model, answer)` may spoil an answer before it is sent."""

    sessions: dict[str, onnxruntime.InferenceSession]
    change: Change

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def answer(self, code: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        _, _, model, what = self.path.strip("/").split("/")
        self.answer(200 if model in self.sessions and what == "ready" else 404, {})

    def do_POST(self) -> None:
        model = self.path.split("/")[3]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (tensor,) = body["inputs"]
        x = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        names = [output["name"] for output in body["outputs"]]
        results = self.sessions[model].run(names, {tensor["name"]: x})
        outputs = [
            {"name": name, "datatype": "FP32", "shape": list(result.shape), "data": result.reshape(-1).tolist()}
            for name, result in zip(names, results, strict=True)
        ]
        self.answer(200, type(self).change(model, {"model_name": model, "outputs": outputs}))


@contextlib.contextmanager
def served(project: Path, change: Change = lambda _, answer: answer) -> Iterator[str]:
    """Serve the project's repository; give the URL."""
    sessions = {
        place.name: onnxruntime.InferenceSession(place / "1" / "model.onnx", providers=["CPUExecutionProvider"])
        for place in (project / "models").iterdir()
    }
    handler = type("Handler", (Served,), {"sessions": sessions, "change": staticmethod(change)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def self_test(project: Path, url: str) -> subprocess.CompletedProcess[str]:
    # -I: nothing of ours is on its path; the environment may name a proxy, which is not for this machine.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-I", project / "self_test.py", "--url", url]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("bundle", ["small_bundle", "ae_bundle", "gaussian_bundle"])
def test_the_self_test_passes_where_the_graphs_are_served(
    bundle: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = embed("triton", request.getfixturevalue(bundle), tmp_path / "p")
    with served(folder) as url:
        done = self_test(folder, url + "/")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = 8 if bundle == "ae_bundle" else 12  # four batch sizes; mean, log_var and x_hat
    assert done.stdout.splitlines()[-1].endswith(f": all {rows} within tolerance")
    assert done.stdout.count("  ok\n") == rows


def nested(_: str, answer: dict[str, Any]) -> dict[str, Any]:
    for output in answer["outputs"]:
        output["data"] = np.reshape(output["data"], output["shape"]).tolist()
    return answer


@pytest.fixture
def short(bundle_copy: Path, rehash: Callable[..., None], tmp_path: Path) -> Path:
    """A project with 8 golden items instead of 64."""
    golden = Bundle.open(bundle_copy).golden()
    few = golden._replace(**{name: rows[:8] for name, rows in golden._asdict().items() if rows is not None})
    (bundle_copy / "golden.npz").write_bytes(few.to_bytes())
    rehash(bundle_copy, lambda manifest: manifest.replace(golden_items=8))
    return embed("triton", bundle_copy, tmp_path / "short")


def test_the_self_test_takes_nested_tensors_too(short: Path) -> None:
    with served(short, nested) as url:
        assert self_test(short, url).returncode == 0


def test_the_self_test_asks_for_no_more_than_the_largest_call(small_bundle: Path, tmp_path: Path) -> None:
    sizes = set()

    def look(_: str, answer: dict[str, Any]) -> dict[str, Any]:
        sizes.add(answer["outputs"][0]["shape"][0])
        return answer

    folder = embed("triton", small_bundle, tmp_path / "p", max_batch=3)
    with served(folder, look) as url:
        assert self_test(folder, url).returncode == 0
    assert sizes == {1, 2, 3}


def spoil(name: str, how: Callable[[dict[str, Any]], None]) -> Change:
    def change(_: str, answer: dict[str, Any]) -> dict[str, Any]:
        for output in answer["outputs"]:
            if output["name"] == name:
                how(output)
        return answer

    return change


def move(by: float) -> Callable[[dict[str, Any]], None]:
    def how(output: dict[str, Any]) -> None:
        output["data"][-1] += by

    return how


@pytest.mark.parametrize(
    ("change", "stdout", "stderr"),
    [
        (spoil("mean", move(2e-3)), "encode mean, batch 1 .* TOO FAR", ""),
        (spoil("log_var", move(-2e-3)), "encode log_var, batch 7 .* TOO FAR", ""),
        (spoil("x_hat", move(2e-3)), "decode, batch 2 .* TOO FAR", ""),
        (spoil("x_hat", move(float("nan"))), "decode, batch 1 .*inf.* TOO FAR", ""),
        (spoil("x_hat", lambda o: o["data"].reverse()), "TOO FAR", ""),
        (spoil("mean", lambda o: o["data"].clear()), "encode mean, batch 1 .*inf.* TOO FAR", ""),
        (
            spoil("mean", lambda o: o["shape"].insert(0, 9)),
            "",
            r"error: small_encoder gives mean in shape \[9, 1, 5\] for 1",
        ),
        (lambda *_: b"<html>", "", "error: .*infer: Expecting value"),
    ],
)
def test_the_self_test_notices_wrong_answers(short: Path, change: Change, stdout: str, stderr: str) -> None:
    with served(short, change) as url:
        done = self_test(short, url)
    assert done.returncode == 1
    assert re.search(stdout, done.stdout), done.stdout
    assert re.search(stderr, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert "within tolerance" not in done.stdout


@pytest.mark.parametrize(("half", "failing"), [("encoder", ["encode mean", "encode log_var"]), ("decoder", ["decode"])])
def test_mean_deviations_are_compared_where_the_bundle_states_them(half: str, failing: list[str], short: Path) -> None:
    path = short / "golden" / "golden.json"
    index = json.loads(path.read_text())
    index["tolerances"][f"mean_{half}"] = -1
    path.write_text(json.dumps(index))
    with served(short) as url:
        done = self_test(short, url)
    assert done.returncode == 1
    assert re.findall("^(.*), mean deviation .* TOO FAR$", done.stdout, re.MULTILINE) == failing, done.stdout


def test_the_self_test_says_when_there_is_no_server_or_no_model(project: Path, tmp_path: Path) -> None:
    port = free_port()
    done = self_test(project, f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: http://127.0.0.1:{port}/v2/models/small_encoder/ready: ")
    for url, words in (
        ("http://localhost:abc", "nonnumeric port: 'abc'"),
        ("localhost:80", "unknown url type: localhost"),
    ):
        done = self_test(project, url)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: {url}/v2/models/small_encoder/ready: ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    (tmp_path / "models").mkdir()
    with served(tmp_path) as url:
        done = self_test(project, url)
    assert done.returncode == 1
    assert "small_encoder/ready answers 404" in done.stderr


# Served by KServe.


@pytest.fixture(scope="module")
def kserve(
    project: Path, tmp_path_factory: pytest.TempPathFactory, unavailable: Callable[[str], NoReturn]
) -> Iterator[tuple[str, int]]:
    """Start KServe on the project's repository; give its address."""
    if not KSERVE.is_file():
        unavailable(f"KServe is not installed at {KSERVE}; `make kserve` installs it")
    log = tmp_path_factory.mktemp("kserve") / "log.txt"  # not a pipe: nobody reads it while the server runs
    for _ in range(3):  # between asking for a free port and taking it, another program may take it
        address = ("127.0.0.1", free_port())
        command = [KSERVE, project / "serve_kserve.py", str(address[1])]
        with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
            try:
                if not begun(process, address):
                    continue
                yield address
                return
            finally:
                process.kill()  # it has nothing to save, and on a busy machine would take its time to end by itself
    pytest.fail(f"KServe did not begin: {log.read_text()}")


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def begun(process: subprocess.Popen[bytes], address: tuple[str, int]) -> bool:
    """Wait until a server answers; false if it ended, or is not ready in time."""
    until = time.monotonic() + READY_WITHIN
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(
            OSError, http.client.HTTPException, ValueError
        ):  # ValueError: not JSON, so not our server
            if get(address, "/v2/models/small_decoder/ready")[0] == 200:
                return True
        time.sleep(0.1)
    return False


def get(address: tuple[str, int], path: str, body: Any = None) -> tuple[int, Any]:
    """Status and content of an answer; POST with a body."""
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=300)) as connection:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def ask(address: tuple[str, int], model: str, name: str, x: np.ndarray) -> dict[str, np.ndarray]:
    """Infer over HTTP, as any client of the protocol would."""
    tensor = {"name": name, "datatype": "FP32", "shape": x.shape, "data": x.reshape(-1).tolist()}
    status, answer = get(address, f"/v2/models/{model}/infer", {"inputs": [tensor]})
    assert status == 200, answer
    return {o["name"]: np.array(o["data"], np.float32).reshape(o["shape"]) for o in answer["outputs"]}


@pytest.mark.parametrize("batch", [1, 7])
def test_kserve_gives_what_the_model_gives_here(kserve: tuple[str, int], small_bundle: Path, batch: int) -> None:
    vae = vaekit.load(small_bundle, provider="cpu", threads=1)
    x = Bundle.open(small_bundle).golden().x[:batch]
    posterior = vae.encode(x)
    encoded = ask(kserve, "small_encoder", "x", x)
    np.testing.assert_allclose(encoded["mean"], posterior.mean, rtol=0, atol=1e-5)
    np.testing.assert_allclose(encoded["log_var"], posterior.log_var, rtol=0, atol=1e-5)
    z = vaekit.reparameterise(posterior.mean, posterior.log_var, seed=7)
    decoded = ask(kserve, "small_decoder", "z", z)
    np.testing.assert_allclose(decoded["x_hat"], vae.decode(z), rtol=0, atol=1e-6)


def test_kserve_states_the_models_by_their_names(kserve: tuple[str, int]) -> None:
    assert sorted(get(kserve, "/v2/models")[1]["models"]) == ["small_decoder", "small_encoder"]


def test_the_self_test_passes_against_kserve(kserve: tuple[str, int], project: Path) -> None:
    done = self_test(project, "http://{}:{}".format(*kserve))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "small: all 12 within tolerance" in done.stdout
