"""The page of a sweep is one file, and its heat map responds to the reader."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from elmlff_core.report.heat_map import Grid, heat_map, shade
from elmlff_core.report.page import render
from elmlff_core.settings.run_folder import RunFolder
from elmlff_core.workflows.sweep.page import subset_map, subset_table, write_results
from elmlff_core.workflows.sweep.results import Sweep
from elmlff_core.workflows.sweep.subset_errors import SubsetErrors
from elmlff_core.workflows.sweep.subsets import all_subsets

MODELS = ("dp1", "painn", "nep")


def entries(method: str, factor: float, models=MODELS) -> list[SubsetErrors]:
    """Errors that decrease with the number of base models; `test` is twice as large as `valid`."""
    return [
        SubsetErrors(subset, method, {"train": 0.5 * error, "valid": error, "test": 2 * error}, 1.0)
        for place, subset in enumerate(all_subsets(models))
        for error in [factor * (0.1 / len(subset) + 0.001 * place)]
    ]


@pytest.fixture
def sweep() -> Sweep:
    found = [*entries("least-squares", 1.0), *entries("per-subset", 0.5)[:4]]
    costs = {"dp1": 0.001, "painn": 0.004, "nep": 0.0002}
    return Sweep(MODELS, "egat", found, {"train": 0.9, "valid": 1.0, "test": 1.1}, costs, ["a note"])


@pytest.fixture
def written(sweep, tmp_path) -> Path:
    (tmp_path / "config.toml").write_text("seed = 0\n")
    write_results(sweep, "few.extxyz", {"train": 9, "valid": 2, "test": 3}, RunFolder(tmp_path, "key"))
    return tmp_path


def test_the_page_loads_no_other_file(written):
    html = (written / "sweep.html").read_text()
    assert not re.search(r"(?:src|href)=\"(?!data:(?:image/png|text/csv);base64,|#)", html)
    assert not re.search(r"url\((?!#)|@import|<link|fetch\(|XMLHttpRequest", html)
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # they are no addresses
    assert set(re.findall(r"https?://[^\"' ]+", html)) == namespaces


def test_the_page_recommends_by_validation(written, sweep):
    html = (written / "sweep.html").read_text()
    best = min(sweep.of("least-squares"), key=lambda entry: entry.errors["valid"])
    assert f"least-squares: {'+'.join(best.subset)} is best on validation ({best.errors['valid']:.4f} eV/Å" in html
    assert "a note" in html
    assert "with an error of 1.0000 eV/Å on validation and 1.1000 on test structures" in html
    key_row = r'class="key">\s*<th scope="row" class="text">least-squares</th>\s*<td class="text">recommended: lowest'
    assert re.search(key_row, html)


def test_json_and_csv_hold_the_same(written, sweep):
    record = json.loads((written / "sweep.json").read_text())
    with (written / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(record["entries"]) == 11
    for row, entry in zip(rows, record["entries"], strict=True):
        assert (row["subset"], row["method"]) == ("+".join(entry["subset"]), entry["method"])
        assert float(row["test"]) == pytest.approx(entry["errors"]["test"], rel=1e-5)
    assert record["agreement"][0]["n_subsets"] == 4
    assert set(record["methods"]) == {"least-squares", "per-subset"}
    assert record["methods"]["per-subset"]["shapley"] == {}
    shapley = record["methods"]["least-squares"]["shapley"]["test"]
    whole = sweep.of("least-squares")[-1].errors["test"]
    assert sum(value["value"] for value in shapley.values()) == pytest.approx(1.1 - whole)
    for name in ("sizes", "costs", "shapley"):
        assert (written / "figures" / f"{name}.svg").read_text().startswith("<svg")
    with (written / "figures" / "costs.csv").open() as file:
        costs = {row["base models"]: row for row in csv.DictReader(file) if row["method"] == "least-squares"}
    for entry in sweep.of("least-squares"):
        row = costs["+".join(entry.subset)]
        assert float(row["validation (eV/Å)"]) == pytest.approx(entry.errors["valid"], rel=1e-5)
        assert float(row["ms per structure"]) == pytest.approx(1000 * sweep.cost(entry.subset), rel=1e-5)


def test_each_method_has_a_heat_map_as_a_file(written, sweep):
    for method in ("least-squares", "per-subset"):
        drawing = ElementTree.parse(written / f"heat_map-{method}.svg").getroot()
        titles = [title.text for title in drawing.iter("{http://www.w3.org/2000/svg}title")]
        known = {"+".join(entry.subset): entry.errors["test"] for entry in sweep.of(method)}
        assert len(titles) == 8
        assert {f"{name}: {error:.4f} eV/Å" for name, error in known.items()} < set(titles)


def test_every_subset_has_one_cell():
    for n_models in (1, 2, 3, 8):
        models = [f"m{i}" for i in range(n_models)]
        grid = Grid.of(models)
        subsets = [subset for _, _, subset in grid.cells()]
        assert sorted(subsets) == sorted([(), *all_subsets(models)])
        assert len(subsets) == len(grid.rows) * len(grid.columns) == 2**n_models


def test_colours_are_on_a_logarithmic_scale():
    assert [shade(value, 0.01, 1.0, 4) for value in (0.01, 0.05, 0.2, 0.5, 1.0)] == [0, 1, 2, 3, 3]
    assert shade(0.5, 0.5, 0.5) == 0


def test_a_name_with_markup_is_escaped():
    models = ("</script><b>", "nep")
    found = Sweep(models, "egat", entries("least-squares", 1.0, models), {"train": 1, "valid": 1, "test": 1},
                  dict.fromkeys(models, 0.1))  # fmt: skip
    assert "<b>" not in heat_map(subset_map(found)).markup


def test_the_table_is_ranked_and_has_empty_cells_for_missing_errors(sweep):
    table = subset_table(sweep)
    valid = [float(row[3]) for row in table.rows]
    assert valid == sorted(valid)
    by_name = {row[0]: row for row in table.rows}
    assert by_name["dp1+painn+nep"][5:] == ["", ""]
    assert by_name["dp1"][3:] == ["0.1000", "0.2000", "0.0500", "0.1000"]


# A minimal replacement of the browser's document, with the functions that the script uses.
DOCUMENT = """
const data = %s;
function element(attributes) {
  const listeners = {};
  return Object.assign({
    attributes, listeners, textContent: "", hidden: true, style: {}, offsetWidth: 10,
    getAttribute(name) { return this.attributes[name]; },
    setAttribute(name, value) { this.attributes[name] = value; },
    addEventListener(name, listener) { listeners[name] = listener; },
  }, {});
}
const cells = data.cells.map(function (cell, index) {
  const rectangle = element({"data-cell": String(index)}), title = element({});
  rectangle.classList = {toggle(name, on) { rectangle.current = on; }};
  rectangle.scrollIntoView = () => {};
  rectangle.getBoundingClientRect = () => ({right: 20, bottom: 20});
  rectangle.querySelector = () => title;
  return rectangle;
});
const labels = data.cells.map(() => element({})), low = element({}), high = element({});
const method = element({}), split = element({}), tip = element({}), map = element({});
method.value = "least-squares"; split.value = "valid";
const root = {
  querySelector(selector) {
    const label = selector.match(/data-label="(\\d+)"/);
    if (label) return labels[Number(label[1])];
    return {'script[type="application/json"]': {textContent: JSON.stringify(data)}, 'select[name="method"]': method,
      'select[name="errors"]': split, ".tip": tip, ".scroll": map,
      '[data-scale="low"]': low, '[data-scale="high"]': high}[selector];
  },
  querySelectorAll: () => cells,
};
const document = {currentScript: {parentElement: root}, documentElement: {clientWidth: 900, clientHeight: 700}};
%s
method.value = "per-subset"; split.value = "test"; method.listeners.change();
cells[1].listeners.mousemove({clientX: 5, clientY: 5});
console.log(JSON.stringify({fills: cells.map((cell) => cell.attributes.fill), tip: tip.textContent, hidden: tip.hidden,
  low: low.textContent, high: high.textContent, labels: labels.map((label) => label.textContent)}));
"""


def test_the_script_shows_the_chosen_method_and_split(sweep):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node to run the script of the page")
    markup = heat_map(subset_map(sweep)).markup
    data = re.search(r'<script type="application/json">(.*?)</script>', markup, re.DOTALL)[1]
    script = re.search(r"<script>(.*?)</script>", markup, re.DOTALL)[1]
    run = subprocess.run([node, "-e", DOCUMENT % (data, script)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    known = {entry.subset: entry.errors["test"] for entry in sweep.of("per-subset")}
    low, high = min(known.values()), max(known.values())
    assert (found["low"], found["high"]) == (f"{low:.4f} eV/Å", f"{high:.4f} eV/Å")
    for (_, _, subset), fill, label in zip(Grid.of(MODELS).cells(), found["fills"], found["labels"], strict=True):
        colours = json.loads(data)["colours"]
        expected = colours[shade(known[subset], low, high)] if subset in known else "var(--empty)"
        assert (fill, label) == (expected, f"{known[subset]:.4f}" if subset in known else "")
    assert found["tip"].splitlines()[0] == "painn"
    assert "per-subset: validation 0.0505, test 0.1010, training 0.0253 eV/Å" in found["tip"]
    assert found["tip"].endswith("base models take 4.00 ms per structure")
    assert not found["hidden"]


def test_without_scripts_the_heat_map_shows_the_first_method(sweep):
    markup = heat_map(subset_map(sweep)).markup
    titles = re.findall(r"<title>(.*?)</title>", markup)
    assert titles[0] == "no base model: zero forces: 1.0000 eV/Å"
    assert "dp1+painn+nep: 0.0393 eV/Å" in titles
    assert len(titles) == 8


def test_other_pages_have_no_scripts():
    from elmlff_core.report.page import Page, Section, Text

    assert "<script" not in render(Page("t", "s", [Section("a", [Text("b")])]))
