"""Pages in a browser: accessibility by axe-core, narrow screens, dark mode, printing, and the keyboard.

`make test-pages` runs them, and installs the packages that drive a browser; `make test` leaves them out.  They need
Chromium, from $ELMLFF_CHROMIUM or the search path.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from elmlff_core.settings.config import Config, DataConfig, ModelConfig
from elmlff_core.workflows.stack.workflow import build_stack
from elmlff_core.workflows.sweep.workflow import sweep

pytestmark = pytest.mark.pages
WIDTHS = (1200, 390)
SCHEMES = ("light", "dark")
# Nothing that a page of ours needs; a browser of a test must not look for updates.
ARGUMENTS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
MORSE = {"calculator": "ase.calculators.morse:MorsePotential"}
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium that Playwright drives; the tests are skipped where one of both is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra 'pages': run `make test-pages`")
    found = os.environ.get("ELMLFF_CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if found is None:
        pytest.skip("there is no Chromium: install one, or set ELMLFF_CHROMIUM to its path")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses its sandbox to root
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=ARGUMENTS + sandbox)
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """The report of a stack with energies and stresses of two elements, and the page of a sweep."""
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    frames = []
    for number in range(60):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.symbols[: 1 + number % 3] = "Ag"
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.01, size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        atoms.get_forces()
        atoms.get_stress()
        frames.append(atoms)
    ase.io.write(folder / "alloy.extxyz", frames)
    potentials = {"soft": (0.3, 2.6), "hard": (0.5, 2.6), "wide": (0.4, 2.8), "a-model-with-a-long-name": (0.6, 2.5)}
    models = {
        name: ModelConfig(adapter="ase", options=MORSE | {"arguments": {"epsilon": epsilon, "r0": r0}})
        for name, (epsilon, r0) in potentials.items()
    }
    config = Config(
        data=DataConfig(train=str(folder / "alloy.extxyz")), models=models, base_models=tuple(models),
        meta={"name": "linear,best"},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMLFF_CACHE", str(tmp_path_factory.mktemp("cache")))
        build_stack(config, folder / "run")
        sweep(config.model_copy(update={"meta": {"name": "linear"}}), output=folder / "sweep")
    return {"report": folder / "run" / "report.html", "sweep": folder / "sweep" / "sweep.html"}


@contextmanager
def opened(browser: Any, path: Path, width: int = 1200, scheme: str = "light") -> Iterator[Any]:
    """Open a page without network; an error of a script, or a request of another file, fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    yield page
    context.close()
    assert wrong == []


def axe_core() -> str:
    """Return axe-core, which the package axe-playwright-python carries."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("needs axe-playwright-python: run `make test-pages`")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "sweep"])
def test_pages_are_accessible_and_as_wide_as_the_screen(browser, pages, name, width, scheme):
    with opened(browser, pages[name], width, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.evaluate(axe_core())
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in SERIOUS] == []


def brightness(page: Any, selector: str, style: str) -> float:
    """Return the mean of red, green and blue, 0 to 255, of a colour of the first element."""
    colour = page.evaluate(f"getComputedStyle(document.querySelector('{selector}'))['{style}']")
    return float(np.mean([float(part) for part in colour.strip("rgba()").split(",")[:3]]))


def test_figures_follow_the_dark_scheme(browser, pages):
    for scheme, text_is_bright in (("light", False), ("dark", True)):
        with opened(browser, pages["report"], scheme=scheme) as page:
            assert (brightness(page, "body", "backgroundColor") < 128) == text_is_bright
            assert (brightness(page, "figure svg text", "fill") > 128) == text_is_bright
            page.emulate_media(media="print")
            assert brightness(page, "body", "backgroundColor") == 255
            assert brightness(page, "figure svg text", "fill") < 128


def test_printed_pages_have_nothing_cut_off(browser, pages):
    with opened(browser, pages["report"], width=794) as page:  # the width of A4
        page.emulate_media(media="print")
        too_wide = page.evaluate(
            "[...document.querySelectorAll('.scroll > *, pre')]"
            ".filter((one) => one.getBoundingClientRect().right > 794).map((one) => one.outerHTML.slice(0, 80))"
        )
        assert too_wide == []
        assert page.evaluate("getComputedStyle(document.querySelector('.together')).breakInside") == "avoid"
        assert page.evaluate("getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
        assert page.pdf().startswith(b"%PDF")


def tip(page: Any) -> tuple[str, dict[str, float]]:
    """Return the text of the tip of the heat map, and its rectangle."""
    shown = page.locator(".tip")
    assert shown.is_visible()
    return shown.inner_text(), shown.bounding_box()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_tip_of_every_cell_is_inside_the_window(browser, pages, width):
    with opened(browser, pages["sweep"], width) as page:
        for cell in page.locator("[data-cell]").all():
            cell.hover()
            text, place = tip(page)
            assert text.startswith(cell.locator("title").text_content().split(": ")[0])
            assert place["x"] >= 0
            assert place["x"] + place["width"] <= width
            assert place["y"] >= 0
            assert place["y"] + place["height"] <= 900


def test_the_heat_map_can_be_read_with_the_keyboard(browser, pages):
    with opened(browser, pages["sweep"]) as page:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.matches('.heat-map .scroll')"):
                break
        page.keyboard.press("ArrowDown")
        assert tip(page)[0].startswith("no base model")
        page.keyboard.press("ArrowRight")
        assert tip(page)[0].splitlines()[0] == "wide"
        page.keyboard.press("ArrowDown")
        assert tip(page)[0].splitlines()[0] == "soft+wide"
        page.keyboard.press("ArrowLeft")
        assert tip(page)[0].splitlines()[0] == "soft"
        page.keyboard.press("ArrowLeft")  # there is no cell left of it
        assert tip(page)[0].splitlines()[0] == "soft"
        page.keyboard.press("Escape")
        assert not page.locator(".tip").is_visible()


def test_the_data_of_a_figure_can_be_downloaded(browser, pages):
    with opened(browser, pages["report"]) as page:
        for link in page.locator("a.data").all():
            with page.expect_download() as waiting:
                link.click()
            name = waiting.value.suggested_filename
            own = pages["report"].parent / "figures" / name
            assert Path(waiting.value.path()).read_bytes() == own.read_bytes()
