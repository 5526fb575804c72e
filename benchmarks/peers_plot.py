"""Plots of the peers' results: items a second over the batch, a panel a half, a picture a model. Without matplotlib, none."""

from __future__ import annotations

from typing import Any

from benchmarks.sidebyside import RESULTS


def plot(result: dict[str, Any], name: str) -> None:
    """Draw benchmarks/results/NAME-MODEL.png from what `benchmarks.peers` keeps."""
    try:
        import matplotlib as mpl

        mpl.use("agg")
        from matplotlib import pyplot
    except ImportError:
        print("no plots, since matplotlib is not installed: pip install 'vaekit[plots]'")
        return
    groups = {tuple(key.split()): group for key, group in result["groups"].items()}
    for model in dict.fromkeys(model for model, _, _ in groups):
        halves = list(dict.fromkeys(half for of, half, _ in groups if of == model))
        figure, panels = pyplot.subplots(1, len(halves), figsize=(6 * len(halves), 5), squeeze=False, sharey=True)
        colours: dict[str, Any] = {}
        for half, axes in zip(halves, panels[0], strict=True):
            points: dict[str, list[tuple[int, float]]] = {}
            for (of, part, batch), group in groups.items():
                if (of, part) == (model, half):
                    for peer, numbers in group.items():
                        points.setdefault(peer, []).append((int(batch), numbers["items_per_second"]))
            for peer, line in points.items():
                style = "-" if peer.startswith("vaekit") else "--"
                drawn = axes.plot(*zip(*line, strict=True), style, marker="o", label=peer, color=colours.get(peer))
                colours[peer] = drawn[0].get_color()
            axes.set(xscale="log", yscale="log", xlabel="batch", title=f"{model} {half}")
            axes.set_xticks(sorted({batch for line in points.values() for batch, _ in line}))
            axes.get_xaxis().set_major_formatter(mpl.ticker.ScalarFormatter())
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        panels[0][0].set_ylabel(f"items a second, {result['threads']} threads")
        panels[0][-1].legend(fontsize="small")
        figure.tight_layout()
        path = RESULTS / f"{name}-{model}.png"
        figure.savefig(path, dpi=120)
        pyplot.close(figure)
        print(f"drawn in benchmarks/results/{path.name}")
