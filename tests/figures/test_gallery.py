"""docs/figures.md shows every figure, with a picture that is small enough for a repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from vaekit.figures import FIGURES

DOCS = Path(__file__).resolve().parents[2] / "docs"

MOST_BYTES = 150_000


def test_the_gallery_has_a_section_with_a_picture_for_each_figure_in_order() -> None:
    page = (DOCS / "figures.md").read_text()
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == list(FIGURES)
    assert re.findall(r"^!\[.+\]\(figures/(.+)\.png\)$", page, re.MULTILINE) == list(FIGURES)
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        assert len(section.split("\n\n", 2)[2]) > 80, f"{section.split()[0]}: a sentence or two on what to see"


@pytest.mark.parametrize("name", FIGURES)
def test_pictures_of_the_gallery_are_small(name: str) -> None:
    path = DOCS / "figures" / f"{name}.png"
    assert path.stat().st_size <= MOST_BYTES
    with Image.open(path) as image:
        assert image.mode == "P"
        assert image.width >= 800


def test_the_gallery_has_no_other_files() -> None:
    assert {path.name for path in (DOCS / "figures").iterdir()} == {f"{name}.png" for name in FIGURES}
