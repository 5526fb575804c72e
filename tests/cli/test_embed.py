"""`vaekit embed` on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def test_it_prints_what_was_written_and_the_two_commands_to_try_it(
    run: Callable[..., object], small_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "a project"
    code, out, err = run("embed", "python", small_bundle, "--out", folder)  # type: ignore[misc]
    assert (code, err) == (0, "")
    assert "  vae_model.py  " in out
    assert out.endswith(
        f"wrote {folder}; try it:\n  cd '{folder}'\n  python vae_model.py --self-test\n"
        "  python vae_model.py --sample 2 --seed 7\n"
    )
    listed = {line.split()[0] for line in out.splitlines() if line.endswith(" bytes")}
    assert listed == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_looks_like_an_option_can_be_entered(
    run: Callable[..., object], small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("embed", "python", small_bundle, "--out", "-x")  # type: ignore[misc]
    assert code == 0
    assert "\n  cd ./-x\n" in out
    assert (tmp_path / "-x" / "vae_model.py").is_file()


def test_the_weights_of_c_standalone_can_be_chosen(
    run: Callable[..., object], small_bundle: Path, tmp_path: Path
) -> None:
    code, _, err = run("embed", "c-standalone", small_bundle, "--out", tmp_path / "p", "--weights", "int8")  # type: ignore[misc]
    assert (code, err) == (0, "")
    assert "static const int8_t WEIGHT_1" in (tmp_path / "p" / "vae_decoder.c").read_text()


def test_list_says_what_each_target_is(run: Callable[..., object]) -> None:
    code, out, _ = run("embed", "--list")  # type: ignore[misc]
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["python", "c", "c-standalone", "node", "web", "triton"]
    assert "the decoder in C11; needs a C compiler and ONNX Runtime" in out


def test_force_replaces_what_embed_wrote(run: Callable[..., object], small_bundle: Path, tmp_path: Path) -> None:
    arguments = ("embed", "python", small_bundle, "--out", tmp_path / "p")
    assert run(*arguments)[0] == 0  # type: ignore[index]
    code, _, err = run(*arguments)  # type: ignore[misc]
    assert code == 1
    assert "exists already; choose another path, or pass --force" in err
    assert run(*arguments, "--force")[0] == 0  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rust",), "the target 'rust' is unknown; choose one of python, c, c-standalone, node, web, triton."),
        (("python", "nothing"), "there is no bundle at nothing"),
        (("python", "--precision", "int4"), "precision='int4' is not in the bundle 'mnist'"),
        (
            ("python", "--weights", "int8"),
            "the target python has no option --weights, unlike c-standalone; leave it out.",
        ),
        (("web", "--io", "uint8"), "the target web has no option --io, unlike python, c, node; leave it out."),
        (("node", "--io", "uint8"), "export it again with `vaekit export --io uint8`, or leave io out."),
        (("c-standalone", "--weights", "int2"), "weights='int2' is unknown; choose one of float32, int8."),
    ],
)
def test_bad_input_is_one_line(
    run: Callable[..., object], arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    code, out, err = run("embed", *arguments, "--out", tmp_path / "p")  # type: ignore[misc]
    assert code == 1
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
