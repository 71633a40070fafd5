"""A page is one file, escapes its content, and contains its pictures."""

from __future__ import annotations

import base64
import re
from importlib.metadata import version

import numpy as np
import pytest

from elmlff_core.errors import ElmlffError
from elmlff_core.report.page import Listing, Page, Picture, Section, Table, Text, render, write_page
from elmlff_core.report.plots import as_png, calibration, new_figure, parity
from elmlff_core.report.provenance import versions
from elmlff_core.uncertainty.quality import Coverage, ReliabilityBin, UncertaintyQuality


def picture(width: float = 2.0) -> bytes:
    figure = new_figure(width, 1.0)
    figure.subplots().plot([0, 1], [1, 0])
    return as_png(figure)


def page_of(*blocks: Text | Table | Picture | Listing) -> str:
    return render(Page("title", "subtitle", [Section("section", blocks)]))


def test_content_is_escaped():
    evil = "<script>alert('x')</script>"
    table = Table((evil, "n"), [(evil, "1")], caption=evil)
    html = page_of(Text(evil), table, Listing(evil), Picture(picture(), evil, '" onload="x'))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 6
    assert ' onload="' not in html


def test_a_page_loads_no_other_file():
    html = page_of(Text("a"), Picture(picture(), "b", "c"))
    assert not re.search(r"(?:src|href)=\"(?!data:image/png;base64,|#)", html)
    assert not re.search(r"url\(|@import|<link|<script", html)


def test_pictures_are_embedded_with_their_width():
    png = picture(3.0)
    html = page_of(Picture(png, "caption", "words for it"))
    found = re.search(r'<img src="data:image/png;base64,([^"]+)" alt="words for it" width="(\d+)">', html)
    assert base64.b64decode(found[1]) == png
    assert int(found[2]) == 3 * 96
    with pytest.raises(ValueError, match="not a PNG"):
        Picture(b"GIF89a", "caption", "")


def test_tables_have_their_rows():
    html = page_of(Table(("model", "RMSE"), [("a", "0.1"), ("b", "0.2")], key_rows=(1,)))
    assert re.findall(r'<td class="text">(\w)</td><td>([\d.]+)</td>', html) == [("a", "0.1"), ("b", "0.2")]
    assert html.index('<tr class="key">') > html.index("0.1")
    with pytest.raises(ValueError, match="3 cells, the table has 2 columns"):
        Table(("model", "RMSE"), [("a", "b", "c")])


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ElmlffError, match="cannot write"):
        write_page(Page("t", "s", []), tmp_path / "absent" / "report.html")


def test_versions_are_those_installed():
    found = versions()
    assert {name: found[name] for name in ("numpy", "torch", "elmlff")} == {
        name: version(name) for name in ("numpy", "torch", "elmlff")
    }
    assert "pytest" not in found


@pytest.mark.parametrize("n_panels", [1, 4, 6])
def test_parity_of_any_number_of_models(tmp_path, n_panels):
    reference = np.random.default_rng(0).normal(size=(20, 3))
    panels = {f"m{i}": reference + 0.1 * i for i in range(n_panels)}
    parity(reference, panels, np.full(4, 5), tmp_path / "parity.png")
    n_columns, n_bands = min(n_panels, 4), -(-n_panels // 4)
    width = Picture((tmp_path / "parity.png").read_bytes(), "", "").width
    assert width == pytest.approx(3.4 * 96 * n_columns, abs=1)
    height = int.from_bytes((tmp_path / "parity.png").read_bytes()[20:24], "big")
    assert height == pytest.approx(5.6 * 150 * n_bands, abs=1)


def test_calibration_is_drawn_with_little_data():
    quality = UncertaintyQuality(3, None, 0.0, 0.0, (ReliabilityBin(3, 0.0, 0.0),), (Coverage(0.95, None, 1.0),))
    assert as_png(calibration(quality, "eV")).startswith(b"\x89PNG")
