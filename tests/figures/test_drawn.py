"""The figures themselves: what they show comes from the model, every word is inside, and the same call gives the same bytes."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import EllipseCollection
from PIL import Image

from vaekit.errors import ConfigError, MissingDependencyError
from vaekit.figures import FIGURES, NotDrawn, Subject, check_names, draw, picture, style
from vaekit.figures.bubbles import posterior
from vaekit.figures.items import Look, sheet
from vaekit.figures.latent import variance_penalty
from vaekit.figures.means import Epochs
from vaekit.figures.means import means as draw_means
from vaekit.figures.model import Model
from vaekit.figures.style import DPI, SMALL
from vaekit.spec import DataSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Make = Callable[..., Subject]


def drawn(subject: Subject, name: str) -> Figure:
    ((found, figure),) = draw(subject, [name])
    assert found == name
    assert not isinstance(figure, NotDrawn), figure
    return figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text.get_visible()]


class Trained:
    """Stands in for who trains small models."""

    in_words = "Each was trained for 1 epoch on 60 items."

    def __init__(self, make: Callable[..., Model], data: DataSpec) -> None:
        self.make, self.data = make, data

    def betas(self) -> list[tuple[str, Model]]:
        return [(f"β = {beta}", self.make(self.data, 2, seed=beta)) for beta in (0, 1, 4)]

    def autoencoder(self) -> Model:
        return self.make(self.data, 3, kind="ae", seed=8)


SUBJECTS: list[dict[str, Any]] = [
    {"name": "grey", "run": True},
    {"name": "grey", "latent": 1, "run": True},
    {"name": "grey", "latent": 2, "labels": False, "run": True},
    {"name": "grey", "latent": 256},
    {"name": "colour", "run": True},
    {"name": "colour", "kind": "ae", "labels": False},
    {"name": "series", "run": True},
    {"name": "series", "kind": "ae", "latent": 1, "run": True},
    {"name": "row", "labels": False},
    {"name": "long row"},
    {"name": "planes"},
    {"name": "grey", "count": 1},
]


@pytest.mark.parametrize("options", SUBJECTS, ids=lambda options: " ".join(f"{v}" for v in options.values()))
def test_every_figure_is_drawn_or_says_why_not_and_its_words_are_legible_and_inside(
    subject: Make, make: Callable[..., Model], options: dict[str, Any]
) -> None:
    one = subject(**options)
    one = replace(one, trainer=Trained(make, one.model.spec.data))
    skipped = {}
    for name, figure in draw(one):
        if isinstance(figure, NotDrawn):
            skipped[name] = figure.reason
            continue
        assert isinstance(figure, matplotlib.figure.Figure)
        width, height = figure.get_size_inches()
        assert 5 < width <= 12
        assert 1.5 < height <= 20
        with io.BytesIO() as buffer:
            figure.savefig(buffer, format="png")
        renderer = figure.canvas.get_renderer()
        for text in figure.findobj(matplotlib.text.Text):
            if not text.get_text() or not text.get_visible():
                continue
            box = text.get_window_extent(renderer)
            inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width * DPI + 1 and box.y1 < height * DPI + 1
            if not inside:  # labels of ticks beyond an axis' limits are never painted
                ticks = (axis.get_ticklabels() for axes in figure.axes for axis in (axes.xaxis, axes.yaxis))
                assert any(text in labels for labels in ticks), (name, text.get_text(), box)
            assert text.get_fontsize() >= SMALL - 1
    vae = one.model.is_vae
    expected = set() if one.history else {"training"}
    expected |= set() if vae else {"posterior", "kl"}
    if one.measured.active == ():
        expected.add("traversals")
    assert set(skipped) == expected


def test_headings_stand_above_everything_else(subject: Make, make: Callable[..., Model]) -> None:
    one = subject("grey", run=True)
    for name, figure in draw(replace(one, trainer=Trained(make, one.model.spec.data))):
        assert not isinstance(figure, NotDrawn)
        with io.BytesIO() as buffer:
            figure.savefig(buffer, format="png")
        title, subtitle = (text.get_window_extent() for text in figure.texts[:2])
        assert title.y0 >= subtitle.y1 - 1, name
        for axes in figure.axes:
            if axes.axison:
                assert axes.get_tightbbox().y1 < subtitle.y0, name


def test_figures_come_in_the_order_of_a_lecture_and_unknown_ones_are_refused() -> None:
    assert check_names([]) == tuple(FIGURES)
    assert check_names(["kl", "diagram"]) == ("diagram", "kl")
    with pytest.raises(
        ConfigError, match="the figure 'kll' is unknown; choose from diagram, posterior, kl, samples, morph, means"
    ):
        check_names(["kl", "kll"])


def test_the_diagram_holds_the_models_shapes_and_an_items_own_values(subject: Make) -> None:
    one = subject("colour")
    figure = drawn(one, "diagram")
    found = texts(figure)
    for text in (
        "3 × 8 × 6",
        "x",
        "x_hat",
        "mean",
        "log_var",
        "z",
        "eps ~ N(0, I)",
        "144",
        "7",
        "2 × 3",
        "encoder",
        "decoder",
        "sampler",
    ):
        assert text in found, text
    measured = one.measured
    three = np.flatnonzero(np.arange(60) % 4 == 3)
    row = measured.usual(three)  # of a set with a label 3, a usual one of these
    bars = [patch for patch in figure.axes[0].patches if patch.get_gid() == "mean"]
    widths = np.array([bar.get_width() for bar in bars])
    mean = measured.posterior.mean[row]
    np.testing.assert_allclose(widths / np.abs(widths).max(), mean / np.abs(mean).max(), atol=1e-5)
    x, x_hat = (image.get_array() for image in figure.axes[0].images)
    np.testing.assert_allclose(x, one.test.items[:][row].transpose(1, 2, 0), atol=1e-6)
    assert x_hat.shape == (8, 6, 3)


def test_an_autoencoders_diagram_has_neither_sampler_nor_kl(subject: Make) -> None:
    found = texts(drawn(subject("grey", kind="ae"), "diagram"))
    assert "z = mean" in found
    assert not {"sampler", "log_var", "eps ~ N(0, I)"} & set(found)
    assert any(text.startswith("reconstruction loss") for text in found)


def test_bubbles_are_the_posteriors_of_the_items(subject: Make, make: Callable[..., Model]) -> None:
    one = subject("grey")
    models = [(f"β = {beta}", make(one.model.spec.data, 2, seed=beta)) for beta in (0, 1, 4)]
    figure = posterior(models, one.test)
    assert len(figure.axes) == 6
    for place, (_, model) in enumerate(models):
        expected = model.encode(one.test.items[:]).mean
        for axes in figure.axes[2 * place : 2 * place + 2]:
            found = [each for each in axes.collections if isinstance(each, EllipseCollection)]
            assert len(found) == 4  # one for each label
            centres = np.concatenate([each.get_offsets() for each in found])
            order, wanted = np.lexsort(centres.T), np.lexsort(expected.T)
            np.testing.assert_allclose(centres[order], expected[wanted], atol=1e-6)
            for each in found:  # twice the standard deviation, in the axes' units
                np.testing.assert_allclose(each.get_widths(), 2 * np.exp(-0.5), rtol=1e-6)
                np.testing.assert_allclose(each.get_heights(), 2 * np.exp(-0.75), rtol=1e-6)
        top = figure.axes[2 * place]
        centre, half = np.mean(top.get_xlim()), np.diff(top.get_xlim()) / 2
        assert centre == pytest.approx(0)
        assert (np.abs(expected) < half).all()


def test_bubbles_of_an_autoencoder_or_without_small_models_are_not_drawn(subject: Make) -> None:
    ((_, found),) = draw(replace(subject("grey"), no_trainer="torch to train small models"), ["posterior"])
    assert found == NotDrawn("it needs torch to train small models, or --betas RUN,RUN,RUN")
    for name, reason in (("posterior", "posterior is a point"), ("kl", "no variances and no KL")):
        ((_, found),) = draw(subject("grey", kind="ae"), [name])
        assert isinstance(found, NotDrawn)
        assert reason in found.reason


def test_dots_stand_on_the_curve_at_the_models_own_variances(subject: Make) -> None:
    figure = drawn(subject("grey"), "kl")
    curve, rows = figure.axes
    (dots,) = [each for each in curve.collections if each.get_gid() == "dimensions"]
    v = np.exp(-1 - np.arange(3) / 3)
    np.testing.assert_allclose(dots.get_offsets(), np.stack([v, variance_penalty(v)], axis=1), rtol=1e-5)
    x, y = curve.lines[0].get_data()
    np.testing.assert_allclose(y, 0.5 * (np.asarray(x) - np.log(x) - 1), rtol=1e-9)
    assert [label.get_text() for label in rows.get_yticklabels()] == [f"z{d}" for d in subject("grey").measured.order]
    assert any("nats" in text for text in texts(figure))


def test_of_256_dimensions_24_have_a_row_and_it_is_said(subject: Make) -> None:
    one = subject("grey", latent=256)
    figure = drawn(one, "kl")
    assert len(figure.axes[1].get_yticklabels()) == 24
    assert any("24 of 256 dimensions" in text.replace("\n", " ") for text in texts(figure))
    assert len(drawn(one, "aggregate").axes) == 25
    assert any("24 of 256" in text.replace("\n", " ") for text in texts(drawn(one, "aggregate")))


def images(figure: Figure) -> list[Any]:
    return [np.asarray(image.get_array()) for image in figure.axes[0].images]


def test_samples_are_the_decoders_and_say_their_seed(subject: Make) -> None:
    from vaekit.latents import prior

    one = replace(subject("grey"), seed=6)
    figure = drawn(one, "samples")
    expected = one.model.decode(prior(64, 3, seed=6))
    np.testing.assert_allclose(np.stack(images(figure)), expected[:, 0], atol=1e-6)
    assert any("noise of seed 6" in text for text in texts(figure))


def test_colour_items_are_drawn_in_colour_and_other_channels_as_their_mean(subject: Make) -> None:
    for name, shape in (("colour", (8, 6, 3)), ("grey", (8, 8)), ("planes", (6, 6))):
        figure = drawn(subject(name), "samples")
        assert {image.shape for image in images(figure)} == {shape}
    assert any("Mean of the 4 channels" in text.replace("\n", " ") for text in texts(figure))


def test_a_time_series_is_drawn_as_lines_and_a_row_as_bars(subject: Make) -> None:
    series = drawn(subject("series"), "samples").axes[0]
    assert len(series.lines) == 64 * 2  # two channels
    assert {line.get_linestyle() for line in series.lines} == {"-", "--"}
    assert not series.images
    row = drawn(subject("row"), "samples").axes[0]
    assert len(row.containers) == 64
    assert {len(bars) for bars in row.containers} == {5}
    assert len(drawn(subject("long row"), "samples").axes[0].lines) == 64


def test_values_of_columns_are_drawn_in_standard_units() -> None:
    from vaekit.spec import Feature

    data = DataSpec((2,), None, (Feature("a", 10.0, 2.0), Feature("b", 1000.0, 100.0)))
    x = np.array([[12.0, 1100.0], [10.0, 900.0]], np.float32)
    look = Look(data, x)
    np.testing.assert_allclose(look.standardised(x), [[1, 1], [0, -1]])
    axes = sheet(look, [x], title="t", subtitle="s").axes
    first, second = (np.array([bar.get_height() for bar in bars]) for bars in axes.containers)
    assert first[0] == pytest.approx(first[1])
    assert second[0] == pytest.approx(0)
    assert second[1] * first[1] < 0  # y points down: up is negative


def test_a_series_of_equal_values_has_a_scale_all_the_same() -> None:
    look = Look(DataSpec((1, 4), None), np.full((3, 1, 4), 7.0, np.float32))
    assert (look.low, look.high) == (6, 8)


def test_an_images_pixels_are_whole_pixels_of_the_figure() -> None:
    look = Look(DataSpec((1, 28, 28)), np.zeros((1, 1, 28, 28), np.float32))
    wide, high = look.size(0.8)
    assert wide == high <= 0.8
    assert wide * DPI / 28 == pytest.approx(round(wide * DPI / 28))
    # More pixels than the figure has room for are shrunk.
    assert Look(DataSpec((1, 400, 400)), np.zeros((1, 1, 400, 400), np.float32)).size(0.8) == (0.8, 0.8)


def test_a_morph_shows_the_items_at_both_ends_and_the_reconstructions_beside_them(
    subject: Make, make: Callable[..., Model]
) -> None:
    one = subject("grey")
    ae = make(one.model.spec.data, 3, kind="ae", seed=8)
    one = replace(one, ae=ae, ends=("@2", "@5"))
    figure = drawn(one, "morph")
    found = np.stack(images(figure)).reshape(4, 11, 8, 8)
    a, b = one.test.items[:][2:3], one.test.items[:][5:6]
    for row in range(4):
        np.testing.assert_allclose(found[row, 0], a[0, 0], atol=1e-6)
        np.testing.assert_allclose(found[row, 10], b[0, 0], atol=1e-6)
    for row, model in ((0, one.model), (1, one.model), (2, ae), (3, ae)):
        np.testing.assert_allclose(found[row, 1], model.reconstruct(a)[0, 0], atol=1e-6)
        np.testing.assert_allclose(found[row, 9], model.reconstruct(b)[0, 0], atol=1e-6)
    names = texts(figure)
    for name in ("VAE\nlinear", "VAE\nspherical", "AE\nlinear", "AE\nspherical", "t = 0", "t = 1"):
        assert name in names


def test_without_an_autoencoder_the_morph_has_the_models_own_rows(subject: Make) -> None:
    assert len(images(drawn(subject("grey"), "morph"))) == 22
    assert "AE\nlinear" in texts(drawn(subject("grey", kind="ae"), "morph"))


def scattered(axes: Any) -> Any:
    return np.concatenate([np.asarray(each.get_offsets()) for each in axes.collections])


def test_means_are_shown_for_three_epochs_with_a_name_for_each_label(subject: Make) -> None:
    one = replace(subject("grey", latent=2, run=True), classes=("ant", "bee", "cat", "dog"))
    assert one.kept is not None
    figure = drawn(one, "means")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["epoch 1", "epoch 2", "epoch 4"]
    for axes, place in zip(figure.axes, (0, 1, 3), strict=True):
        found, expected = scattered(axes), one.kept.means[place]
        np.testing.assert_allclose(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], atol=1e-6)
        assert {"ant", "bee", "cat", "dog"} <= {text.get_text() for text in axes.texts}
        looks = {(tuple(each.get_facecolor()[0]), each.get_paths()[0].vertices.tobytes()) for each in axes.collections}
        assert len(looks) == 4
    assert {axes.get_xlim() for axes in figure.axes} == {figure.axes[0].get_xlim()}


def test_a_second_row_has_tsne(subject: Make) -> None:
    figure = drawn(replace(subject("grey", run=True), projection="tsne"), "means")
    assert len(figure.axes) == 6
    assert "t-SNE 1" in texts(figure)
    assert any("t-SNE" in text and "distances mean little" in text.replace("\n", " ") for text in texts(figure))


def test_data_without_labels_has_one_colour_and_says_so(subject: Make) -> None:
    figure = drawn(subject("grey", labels=False), "means")
    assert len(figure.axes[0].collections) == 1
    assert any("The data has no labels" in text for text in texts(figure))


def test_too_many_labels_have_one_colour_and_it_is_said() -> None:
    kept = Epochs(np.array([0]), np.zeros((1, 40, 3), np.float32), np.arange(40))
    figure = draw_means(kept, name="many")
    assert len(figure.axes[0].collections) == 1
    assert any("40 labels are too many" in text for text in texts(figure))


def test_a_bundle_shows_its_own_means_and_says_that_they_are_the_last(subject: Make) -> None:
    one = subject("grey", latent=2)
    figure = drawn(one, "means")
    found, expected = scattered(figure.axes[0]), one.measured.posterior.mean
    np.testing.assert_allclose(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], atol=1e-6)
    assert any("Of the last epoch alone" in text.replace("\n", " ") for text in texts(figure))


def test_training_curves_are_the_metrics(subject: Make) -> None:
    one = subject("grey", run=True)
    figure = drawn(one, "training")
    lines = {line.get_gid(): line for axes in figure.axes for line in axes.lines}
    assert set(lines) == {
        f"{part} {term}" for part in ("train", "test") for term in ("negative_elbo", "reconstruction", "kl")
    }
    np.testing.assert_allclose(lines["test kl"].get_ydata(), [12, 7, 10 / 3 + 2, 4.5])
    np.testing.assert_allclose(lines["train negative_elbo"].get_ydata(), [91, 46, 31, 23.5])
    assert lines["train kl"].get_linestyle() != lines["test kl"].get_linestyle()
    assert {axes.get_ylabel() for axes in figure.axes} == {"negative ELBO, nats", "reconstruction, nats", "KL, nats"}


def test_a_first_epoch_far_above_the_rest_does_not_flatten_it(subject: Make) -> None:
    one = subject("grey", run=True)
    far = replace(one, history=({**one.history[0], "train_negative_elbo": 5000.0}, *one.history[1:]))
    figure = drawn(far, "training")
    assert figure.axes[0].get_ylim()[1] < 200
    assert any("5000.0 in epoch 1" in text for text in texts(figure))


def test_an_autoencoders_curves_are_its_reconstruction_alone(subject: Make) -> None:
    figure = drawn(subject("grey", kind="ae", run=True), "training")
    assert [axes.get_ylabel() for axes in figure.axes] == ["reconstruction, nats"]
    ((_, found),) = draw(subject("grey"), ["training"])
    assert found == NotDrawn("a bundle keeps no metrics; give the run's folder")


def test_reconstructions_carry_their_negative_elbo(subject: Make) -> None:
    one = subject("grey")
    figure = drawn(one, "reconstructions")
    order = np.sort(one.measured.negative_elbo)
    found = texts(figure)
    for nats in (*order[:8], *order[-8:]):
        assert f"{nats:.1f}" in found
    best = int(one.measured.negative_elbo.argmin())
    x = one.test.items[:][best : best + 1]
    np.testing.assert_allclose(images(figure)[0], x[0, 0], atol=1e-6)
    np.testing.assert_allclose(images(figure)[8], one.model.reconstruct(x)[0, 0], atol=1e-6)


def test_traversals_have_a_row_for_each_active_dimension_by_kl(subject: Make) -> None:
    one = subject("grey")
    figure = drawn(one, "traversals")
    assert len(images(figure)) == 9 * len(one.measured.active)
    names = [text for text in texts(figure) if text.startswith("z") and "nats" in text]
    kl = one.measured.kl.mean(axis=0)
    assert names == [f"z{d}\n{kl[d]:.2f} nats" for d in one.measured.active]


def test_dimensions_that_do_nothing_are_not_traversed(subject: Make) -> None:
    one = subject("grey")
    still = replace(one.model, encode=lambda x: type(one.measured.posterior)(*(0 * p for p in one.model.encode(x))))
    ((_, found),) = draw(replace(one, model=still), ["traversals"])
    assert found == NotDrawn("no latent dimension is active: the codes are the same for all items")


def test_the_aggregate_posterior_is_the_histogram_of_the_codes(subject: Make) -> None:
    one = subject("grey")
    figure = drawn(one, "aggregate")
    assert len(figure.axes) == 1 + 3
    stairs = figure.axes[0].patches[0].get_data()
    z = one.measured.z
    inside = (np.abs(z) <= stairs.edges[-1]).mean()
    assert (stairs.values * np.diff(stairs.edges)).sum() == pytest.approx(inside)
    counts, _ = np.histogram(z, stairs.edges)
    np.testing.assert_allclose(stairs.values, counts / z.size / np.diff(stairs.edges))
    assert len(drawn(subject("grey", latent=1), "aggregate").axes) == 1


# Files.


def test_the_same_figure_gives_the_same_bytes_without_a_date(subject: Make) -> None:
    first, second = (picture(drawn(subject("series", run=True), "means"), "svg") for _ in range(2))
    assert first == second
    assert first.startswith(b"<?xml")
    assert b"<dc:date>" not in first
    first, second = (picture(drawn(subject("grey"), "kl"), "png") for _ in range(2))
    assert first == second


def test_a_png_has_the_figures_size_and_a_palette_where_that_will_do(subject: Make) -> None:
    figure = drawn(subject("grey"), "samples")
    width, height = (round(side * DPI) for side in figure.get_size_inches())
    with Image.open(io.BytesIO(picture(figure, "png"))) as small:
        assert small.size == (width, height)
        assert small.mode == "P"
        assert len(small.getcolors() or []) <= 256
    with Image.open(io.BytesIO(picture(figure, "png", colours=None))) as full:
        assert full.size == (width, height)
        assert full.mode in ("RGB", "RGBA")


def test_the_users_own_settings_change_nothing_and_are_left_as_they_were(subject: Make) -> None:
    expected = picture(drawn(subject("grey"), "kl"), "svg")
    with matplotlib.rc_context({"font.size": 40, "axes.facecolor": "red", "svg.hashsalt": "other"}):
        assert picture(drawn(subject("grey"), "kl"), "svg") == expected
        assert matplotlib.rcParams["font.size"] == 40
        assert matplotlib.rcParams["svg.hashsalt"] == "other"


def test_figures_never_load_pyplot_nor_torch() -> None:
    code = (
        "import sys; import numpy as np\n"
        "from vaekit.figures import draw, picture, Subject\nfrom vaekit.figures.model import Model\n"
        "from vaekit.datasets import Split\nfrom vaekit.latents import Posterior\nfrom vaekit.spec import DataSpec, ModelSpec\n"
        "spec = ModelSpec('vae', DataSpec((3,), None), 3, 'gaussian')\n"
        "model = Model('m', spec, lambda x: Posterior(x, x * 0), lambda z: z)\n"
        "x = np.random.default_rng(0).normal(size=(20, 3)).astype('f')\n"
        "for name, figure in draw(Subject(model, Split(x)), ['kl', 'samples', 'aggregate']): picture(figure, 'png')\n"
        "print(*sorted({'matplotlib', 'matplotlib.pyplot', 'torch', 'onnxruntime'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["matplotlib"]


def test_without_matplotlib_the_extra_is_named(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"figures need matplotlib.*pip install 'vaekit\[plots\]'"):
        drawn(subject("grey"), "kl")


def test_classes_differ_in_colour_or_marker_up_to_110_of_them() -> None:
    looks = [style.class_look(index) for index in range(110)]
    assert len(set(looks)) == 110
    assert len({colour for colour, _ in looks[:10]}) == 10


def test_neighbouring_colours_differ_in_grey_or_in_marker() -> None:
    for index in range(10):
        assert style.class_look(index)[1] != style.class_look(index + 1)[1]
