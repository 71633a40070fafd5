"""A page is one file, escapes its content, and contains its pictures."""

from __future__ import annotations

import base64
import csv
import io
import re
from importlib.metadata import version
from xml.etree import ElementTree

import numpy as np
import pytest

from elmlff_core.errors import ElmlffError
from elmlff_core.report.figures import INK, Plot, as_svg, new_figure
from elmlff_core.report.page import MOST_EMBEDDED, Listing, Page, Picture, Section, Table, Text, render, write_page
from elmlff_core.report.parity import Values, parity
from elmlff_core.report.plots import calibration
from elmlff_core.report.provenance import versions
from elmlff_core.uncertainty.quality import Coverage, ReliabilityBin, UncertaintyQuality


def plot(title: str = "", width: float = 2.0) -> Plot:
    figure = new_figure(width, 1.0)
    axes = figure.subplots()
    axes.plot([0, 1], [1, 0], "o-")
    axes.set_title(title)
    return Plot(as_svg(figure), ("x", "y"), [(0.0, 1.0), (1.0, 1 / 3)])


def page_of(*blocks: Text | Table | Picture | Listing) -> str:
    return render(Page("title", "subtitle", [Section("section", blocks)]))


def test_content_is_escaped():
    evil = "<script>alert('x')</script>"
    table = Table((evil, "n"), [(evil, "1")], caption=evil)
    html = page_of(Text(evil), table, Listing(evil), Picture("a", plot(evil), evil, '" onload="x'))
    assert "<script" not in html
    # Four of the table with its label, the text, the listing, and three of the figure with its label.
    assert html.count("&lt;script&gt;") == 9
    assert ' onload="' not in html


def test_a_page_loads_no_other_file():
    html = page_of(Text("a"), Picture("b", plot(), "c"))
    assert not re.search(r"(?:src|href)=\"(?!data:(?:image/png|text/csv);base64,|#)", html)
    assert not re.search(r"url\((?!#)|@import|<link|<script", html)


def test_figures_are_drawings_in_the_ink_of_the_page():
    html = page_of(
        Picture("first", plot("a $title$ & more", 3.0), "caption", "words for it"), Picture("second", plot(), "b")
    )
    drawing, other = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert 'role="img" aria-label="words for it"' in drawing
    assert f'width="{3 * 96}"' in drawing
    root = ElementTree.fromstring(drawing)
    assert "a $title$ & more" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "fill: var(--ink)" in root.attrib["style"]
    assert INK not in drawing
    assert "#000000" not in drawing
    names = [set(re.findall(r' id="([^"]+)"', one)) for one in (drawing, other)]
    assert not names[0] & names[1]  # the same marks in two drawings are two elements of the page
    for one, own in zip((drawing, other), names, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', one)) == own


def test_the_numbers_of_a_figure_are_in_the_page_and_beside_it(tmp_path):
    large = Plot(plot().svg, ("n",), [(n,) for n in range(MOST_EMBEDDED // 5)])
    (tmp_path / "figures").mkdir()
    for name in ("stale.csv", "stale.svg", "of the user.csv"):
        (tmp_path / "figures" / name).write_text("")
    section = Section("a", [Picture("small", plot(), "b"), Picture("large", large, "c")])
    write_page(Page("t", "s", [section]), tmp_path / "a.html", optional=("stale", "small"))
    html = (tmp_path / "a.html").read_text()
    (found,) = re.findall(r'download="small.csv" href="data:text/csv;base64,([^"]+)"', html)
    assert base64.b64decode(found).decode() == (tmp_path / "figures" / "small.csv").read_text()
    assert list(csv.reader(io.StringIO(plot().csv))) == [["x", "y"], ["0", "1"], ["1", "0.333333"]]
    assert 'download="large.csv"' not in html
    assert "figures/large.csv" in html
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"small.csv", "small.svg", "large.csv", "large.svg", "of the user.csv"}
    assert (
        "var(--" not in (tmp_path / "figures" / "small.svg").read_text()
    )  # programs for drawings know no such colours


def test_the_same_drawing_has_the_same_bytes():
    assert plot("a").svg == plot("a").svg


def test_tables_have_their_rows():
    html = page_of(Table(("model", "RMSE"), [("a", "0.1"), ("b", "0.2")], key_rows=(1,)))
    rows = re.findall(r'<th scope="row" class="text">(\w)</th>\s*<td>([\d.]+)</td>', html)
    assert rows == [("a", "0.1"), ("b", "0.2")]
    assert re.findall(r'<th scope="col"[^>]*>(\w+)</th>', html) == ["model", "RMSE"]
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
def test_parity_of_any_number_of_models(n_panels):
    reference = np.random.default_rng(0).normal(size=20)
    found = {f"m{i}": reference + 0.1 * i for i in range(n_panels)}
    values = Values("force", "eV/Å", reference, {"structure": np.arange(20)})
    drawn = parity(values, found, dict.fromkeys(found, "an error"), "m0")
    n_columns, n_bands = min(n_panels, 4), -(-n_panels // 4)
    width, height = map(float, re.findall(r'(?:width|height)="([\d.]+)pt"', drawn.svg)[:2])
    assert (width, height) == pytest.approx((max(3.4 * n_columns, 3.9) * 72, 5.6 * n_bands * 72))
    assert list(drawn.columns) == ["structure", "reference (eV/Å)", *(f"{name} (eV/Å)" for name in found)]
    assert np.array(drawn.rows) == pytest.approx(np.column_stack([np.arange(20), reference, *found.values()]))


def test_calibration_is_drawn_with_little_data():
    quality = UncertaintyQuality(3, None, 0.0, 0.0, (ReliabilityBin(3, 0.0, 0.0),), (Coverage(0.95, None, 1.0),))
    drawn = calibration(quality, "eV")
    assert drawn.svg.startswith("<svg")
    assert drawn.rows == [("size of errors", 0.0, 0.0, None), ("coverage", 0.95, None, 1.0)]
