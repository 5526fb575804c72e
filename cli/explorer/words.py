"""What the screen says in words: its title, the facts of the code that is shown, and the keys in its last line.

Needs: NumPy, rich.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from ..console import one_line
from .keys import HINTS

if TYPE_CHECKING:
    from vaekit.explorer.explorer import Explorer
    from vaekit.runtime.vae import VAE


def heading(vae: VAE) -> Text:
    """Which model it is, and what kind of one."""
    spec, name = vae.spec, one_line(vae.manifest.name)
    kind = "VAE" if spec.kind == "vae" else "autoencoder"
    shape = " × ".join(map(str, spec.data.shape))
    return Text.assemble(
        ("vaekit explore", "bold"), f"  {name}  ·  {kind}, {spec.latent} latent, items of {shape}", no_wrap=True
    )


def facts(explorer: Explorer) -> list[Text]:
    """Where the code comes from, how long it is, and what can be undone: `layout.FACTS` lines."""
    view, history = explorer.view, explorer.history
    length = float(np.linalg.norm(explorer.values))
    typical = np.sqrt(len(view.z))
    said = {
        "from": one_line(view.origin),
        "seed": str(view.seed),
        "length": f"{length:.2f} σ (prior ≈ {typical:.2f})",
        "steps": f"{len(history.past)} to undo, {len(history.future)} to redo",
    }
    return [Text.assemble((f"{name:<8}", "dim"), words) for name, words in said.items()]


def hints(width: int) -> Text:
    """As many keys as a line of this width holds."""
    text = Text(no_wrap=True)
    for key, what in HINTS:
        hint = Text.assemble(("  " if text else ""), (key, "bold"), f" {what}")
        if len(text) + len(hint) > width:
            break
        text += hint
    return text
