"""What goes wrong becomes one red line on standard error and exit code 1; a warning becomes one yellow line."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vaekit
import vaekit.cli
from vaekit import errors
from vaekit.cli.results import check_out, write_result
from vaekit.spec import DataSpec

RED, YELLOW, RESET = "\x1b[31m", "\x1b[33m", "\x1b[0m"


Run = Callable[..., Any]


@pytest.fixture
def screen_columns() -> int:
    return 40


def assert_one_error(done: Any, message: str) -> None:
    """One line, exit code 1, and nothing on standard output."""
    assert done.code == 1
    assert re.fullmatch(rf"error: [^\n]*{message}[^\n]*\n", done.err), done.err
    assert done.out == ""


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


@pytest.mark.parametrize("kind", sorted(subclasses(errors.VaekitError), key=lambda kind: kind.__name__))
def test_every_error_of_the_tree_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind(f"what was asked [bold]and[/bold] {'what was found ' * 9}")

    monkeypatch.setattr(vaekit, "load", fail)
    assert_one_error(run("sample"), r"what was asked \[bold\]and\[/bold\] (what was found ){9}")


def test_an_array_beyond_the_memory_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        np.empty(2**60, np.float32)

    monkeypatch.setattr(vaekit, "load", fail)
    assert_one_error(run("sample"), r"there is not enough memory: Unable to allocate 4\.00 EiB .*; ask for fewer items")


def test_error_is_red_where_colour_is_wanted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    done = run("sample", "/there is no such bundle")
    assert done.err.startswith(f"{RED}error: there is no bundle at /there is no such bundle")
    assert done.err.endswith(f"{RESET}\n")
    assert done.err.count("\n") == 1


def test_error_of_several_lines_and_escape_codes_becomes_one_plain_line(run: Run) -> None:
    assert_one_error(run("sample", "no\nsuch\x1b[2Jbundle"), r"there is no bundle at no such \[2Jbundle")


def test_error_of_the_file_system_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/locked/bundle")

    monkeypatch.setattr(vaekit, "load", fail)
    assert_one_error(run("sample"), r"/locked/bundle: Permission denied\.")


def test_a_model_beyond_the_memory_is_one_line_where_torch_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    import vaekit.training

    def fail(*_: object, **__: object) -> None:
        torch.empty(2**60)

    monkeypatch.setattr(vaekit.training.Checkpoint, "latest", fail)
    assert_one_error(
        run("export", "run", "--out", "bundle"),
        r"there is no memory for 4611686018427387904 bytes; use a machine with more, or a smaller model\.",
    )


def test_ctrl_c_while_the_libraries_are_loaded_is_no_traceback() -> None:
    interrupted = (
        "import sys, signal\n"
        "class Loading:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'rich': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Loading())\n"
        "from importlib.metadata import entry_points\n"
        "program, = entry_points(group='console_scripts', name='vaekit')\n"
        "program.load()()"
    )
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_mistake_in_vaekit_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(vaekit, "load", fail)
    with pytest.raises(ZeroDivisionError):
        run("sample")


@pytest.mark.filterwarnings("default")
def test_warning_is_one_yellow_line_and_the_command_goes_on(
    run: Run, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = vaekit.load

    def warn(*arguments: object, **options: object) -> vaekit.VAE:
        warnings.warn("provider='auto' fell back [to]\nthe CPU: " + "a long reason " * 9, stacklevel=1)
        warnings.warn("of no interest to a user", DeprecationWarning, stacklevel=1)
        return load(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(vaekit, "load", warn)
    done = run("sample", small_bundle)
    assert done.code == 0
    assert done.out
    assert re.fullmatch(r"warning: provider='auto' fell back \[to\] the CPU: (a long reason ){9}\n", done.err)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with warnings.catch_warnings():  # each warning is shown once a place
        warnings.simplefilter("always")
        assert run("sample", small_bundle).err.startswith(f"{YELLOW}warning: provider='auto' fell back")


# Bundles.


@pytest.mark.parametrize("command", ["sample", "reconstruct", "morph", "verify", "inspect"])
def test_bundle_that_is_not_there_is_named(run: Run, command: str, tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    assert_one_error(
        run(command, missing), rf"there is no bundle at {missing}; export one with `vaekit export RUN --out"
    )


def test_a_command_that_is_advised_can_be_pasted(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / "my model"
    assert_one_error(run("inspect", missing), rf"export one with `vaekit export RUN --out '{missing}'`\.")


@pytest.mark.parametrize("command", ["sample", "reconstruct", "morph", "verify", "inspect", "score"])
def test_run_instead_of_a_bundle_says_so(run: Run, command: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    data = ["mnist"] if command == "score" else []
    assert_one_error(
        run(command, tmp_path, *data), r"is a run, not a bundle; export it: `vaekit export /\S+ --out BUNDLE`\."
    )


@pytest.mark.parametrize(
    "name", ["manifest.json", "SHA256SUMS", "encoder.onnx", "decoder.onnx", "golden.npz", "README.md"]
)
def test_flipped_byte_is_one_error(run: Run, bundle_copy: Path, name: str) -> None:
    content = bytearray((bundle_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / name).write_bytes(content)
    done = run("inspect", bundle_copy)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


# Providers.


@pytest.mark.parametrize("command", ["sample", "reconstruct", "morph", "verify"])
def test_cuda_without_cuda_gives_the_install_line(run: Run, small_bundle: Path, command: str) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    message = r"provider='cuda' was asked for, but onnxruntime [\d.]+ has only .*cpu.*`pip install 'vaekit\[cuda\]'`"
    assert_one_error(run(command, small_bundle, "--provider", "cuda"), message)


def test_unknown_provider_lists_those_that_are_there(run: Run, small_bundle: Path) -> None:
    message = r"provider='nonsense' was asked for, but onnxruntime\S* [\d.]+ has only .*cpu"
    assert_one_error(run("sample", small_bundle, "--provider", "nonsense"), message)


def test_too_many_threads_are_refused(run: Run, small_bundle: Path) -> None:
    assert_one_error(run("sample", small_bundle, "--threads", 5000), "threads=5000: give 1 to 1024")


# --out.


@pytest.mark.parametrize("command", ["sample", "reconstruct", "morph"])
def test_file_that_exists_is_refused_and_untouched(run: Run, small_bundle: Path, command: str, tmp_path: Path) -> None:
    out = tmp_path / "kept.png"
    out.write_bytes(b"precious")
    done = run(command, small_bundle, "--out", out)
    assert_one_error(done, rf"{out} exists already; choose another path, or pass --force to replace it\.")
    assert out.read_bytes() == b"precious"


@pytest.mark.parametrize("command", ["sample", "reconstruct", "morph"])
@pytest.mark.parametrize("name", ["x.jpg", "x", ".png", "x.png.txt"])
def test_unknown_ending_is_refused(run: Run, small_bundle: Path, command: str, name: str, tmp_path: Path) -> None:
    done = run(command, small_bundle, "--out", tmp_path / name)
    assert_one_error(done, r"the ending '[.\w]*' is unknown; choose one of \.png, (\.gif, \.apng, )?\.npz\.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["sample", "reconstruct", "morph"])
def test_missing_folder_is_refused_before_the_work(run: Run, small_bundle: Path, command: str, tmp_path: Path) -> None:
    done = run(command, small_bundle, "--out", tmp_path / "no folder" / "x.png", "--force")
    assert_one_error(done, rf"there is no folder {tmp_path}/no folder; make it first\.")


def test_folder_is_no_file_to_write(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "folder.png"
    out.mkdir()
    done = run("sample", small_bundle, "--out", out, "--force")
    assert done.code == 1
    assert re.fullmatch(r"error: .*folder\.png is a folder; name a file in it\.\n", done.err)


@pytest.mark.parametrize("command", ["sample", "reconstruct", "morph"])
def test_picture_of_a_model_without_images_is_refused(
    run: Run, gaussian_bundle: Path, command: str, tmp_path: Path
) -> None:
    done = run(command, gaussian_bundle, "--out", tmp_path / "x.png")
    assert_one_error(done, r"items of shape \(6,\) are no images; write \.npz instead\.")


def test_out_is_checked_and_written_by_the_same_rules(tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    check_out(None, DataSpec((6,)), force=False)
    check_out(out, DataSpec((6,)), force=False)
    write_result(out, {"x": np.arange(3)}, force=False)
    with pytest.raises(errors.OutputError, match="exists already"):
        write_result(out, {"x": np.arange(4)}, force=False)
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["x"], [0, 1, 2])


# Items.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "11"], r"label 11 was asked for, but the items' labels are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\."),
        (["--to", "@64"], r"item @64 was asked for, but there are 64; give @0 to @63\."),
        (["--from", "cat"], r"'cat' is no image file, no index \(@17\) and no label; the items' are 0, 1, 2, 3, 4,"),
        (["--data", "mnst"], r"there is no data set 'mnst'; give a known name \(mnist, fashion-mnist\), a folder"),
    ],
)
def test_morph_of_what_is_not_there_is_refused(
    run: Run, small_bundle: Path, arguments: list[str], message: str
) -> None:
    assert_one_error(run("morph", small_bundle, *arguments), message)


def test_morph_by_label_of_items_without_labels_is_refused(run: Run, gaussian_bundle: Path) -> None:
    message = r"label 3 was asked for, but the items have no labels; give an index, as in @3\."
    assert_one_error(run("morph", gaussian_bundle), message)


def test_image_for_a_model_without_images_is_refused(run: Run, gaussian_bundle: Path, tmp_path: Path) -> None:
    Image.new("L", (6, 1)).save(tmp_path / "x.png")
    message = r"the model takes items of shape \(6,\), not images; give --data instead of image files\."
    assert_one_error(run("reconstruct", gaussian_bundle, "--image", tmp_path / "x.png"), message)
    assert_one_error(run("morph", gaussian_bundle, "--from", tmp_path / "x.png"), message)


def test_file_that_is_no_image_is_refused(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    assert_one_error(run("reconstruct", small_bundle, "-i", tmp_path / "x.png"), r"x\.png is no image known here")
    assert_one_error(run("reconstruct", small_bundle, "-i", tmp_path / "y.png"), r"Cannot read the image .*y\.png")


def test_images_and_data_together_are_refused(run: Run, small_bundle: Path, small_data_folder: Path) -> None:
    done = run("reconstruct", small_bundle, "-i", "x.png", "--data", small_data_folder)
    assert_one_error(done, r"--image and --data were both given; give one of them\.")


# Runs.


def test_export_of_no_run_is_refused(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    assert_one_error(run("export", tmp_path / "no", "--out", tmp_path / "b"), "there is no run at .*no; start one with")
    assert_one_error(
        run("export", small_bundle, "--out", tmp_path / "b"), r"is a bundle, not a run; name the folder of the run"
    )
    assert list(tmp_path.iterdir()) == []


# Packages that are not there.

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
from vaekit.cli import main
main({arguments!r})
"""


def without(names: set[str], *arguments: object) -> Any:
    """Run in a process in which some packages cannot be imported."""
    code = BLOCKER.format(names=names, arguments=[str(argument) for argument in arguments])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.mark.parametrize("missing", ["torch", "safetensors"])
def test_train_without_its_packages_names_the_extra(tmp_path: Path, missing: str) -> None:
    done = without({missing}, "train", "--out", tmp_path / "run")
    assert_one_error(done, rf"`vaekit train` needs {missing}; install it with `pip install 'vaekit\[train,cpu\]'`\.")


@pytest.mark.parametrize("missing", ["torch", "safetensors", "onnx", "onnxscript"])
def test_export_without_its_packages_names_the_extra(tmp_path: Path, missing: str) -> None:
    done = without({missing}, "export", tmp_path, "--out", tmp_path / "bundle")
    assert_one_error(done, rf"`vaekit export` needs {missing}; install it with `pip install 'vaekit\[train,cpu\]'`\.")


def test_sample_works_without_torch_and_onnx(small_bundle: Path) -> None:
    done = without({"torch", "onnx", "onnxscript", "safetensors", "scipy"}, "sample", small_bundle)
    assert (done.code, done.err) == (0, "")
    assert done.out


def test_sample_without_onnx_runtime_names_both_extras(small_bundle: Path) -> None:
    done = without({"onnxruntime"}, "sample", small_bundle)
    assert done.code == 1
    assert re.fullmatch(r"error: ONNX Runtime .*\n", done.err)


# A process of its own.


def test_module_is_the_command_line_and_shows_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vaekit", "sample", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert_one_error(SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr), "so it is no bundle")


def test_a_screen_of_no_columns_is_one_of_unknown_size(small_bundle: Path) -> None:
    command = [sys.executable, "-m", "vaekit", "inspect", str(small_bundle)]
    done = subprocess.run(command, env={**os.environ, "COLUMNS": "0"}, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("name                small\n")


def test_full_disk_is_one_error(small_bundle: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    script = shutil.which("vaekit", path=str(Path(sys.executable).parent))
    assert script is not None
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [script, "sample", str(small_bundle)], check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == f"error: the standard output, or another open file: {os.strerror(errno.ENOSPC)}.\n"
