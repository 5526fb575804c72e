"""Plots of the peers' results: items a second over the batch, a panel a half, a picture a model. Without matplotlib, none."""

from __future__ import annotations

from typing import Any

from benchmarks.sidebyside import RESULTS
from vaekit.figures.style import class_look


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
        figure, panels = pyplot.subplots(1, len(halves), figsize=(6 * len(halves), 4.6), squeeze=False, sharey=True)
        peers = list(dict.fromkeys(peer for (of, *_), group in groups.items() if of == model for peer in group))
        for half, axes in zip(halves, panels[0], strict=True):
            points: dict[str, list[tuple[int, float]]] = {}
            for (of, part, batch), group in groups.items():
                if (of, part) == (model, half):
                    for peer, numbers in group.items():
                        points.setdefault(peer, []).append((int(batch), numbers["items_per_second"]))
            for peer, line in points.items():
                ours = peer.startswith("vaekit")
                colour, marker = class_look(peers.index(peer))
                axes.plot(
                    *zip(*line, strict=True), "-" if ours else "--", linewidth=2.5 if ours else 1,
                    marker=marker, markersize=5, color=colour, label=peer, zorder=3 if ours else 2,
                )  # fmt: skip
            axes.set(xscale="log", yscale="log", xlabel="batch", title=f"{model} {half}")
            axes.set_xticks(sorted({batch for line in points.values() for batch, _ in line}))
            axes.get_xaxis().set_major_formatter(mpl.ticker.ScalarFormatter())
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        panels[0][0].set_ylabel(f"items a second, {result['threads']} threads")
        figure.tight_layout(rect=(0, 0, 1 - 2.1 / (6 * len(halves)), 1))
        handles, labels = panels[0][-1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="center right", fontsize="small", frameon=False)
        path = RESULTS / f"{name}-{model}.png"
        figure.savefig(path, dpi=120)
        pyplot.close(figure)
        print(f"drawn in benchmarks/results/{path.name}")
