"""Draw docs/img anew: python tests/screenshots.py"""

from __future__ import annotations

import tempfile
from pathlib import Path

from browser import DESKTOP, chromium, opened, served
from fullyconv.prediction.predicting import predict
from fullyconv.prediction.predictor import Predictor
from fullyconv.serve.app import create_app
from fullyconv.serve.view import create_view
from fullyconv.serve.view_listing import open_folder

ROOT = Path(__file__).resolve().parents[1]
IMG = ROOT / "docs" / "img"
EXAMPLES = ROOT / "examples"


def page_of_a_server() -> None:
    """The page of fcn serve with one of the samples."""
    predictor = Predictor("camvid")
    with (
        served(create_app(predictor, name="camvid")) as address,
        chromium() as browser,
        opened(browser, address) as page,
    ):
        page.click("#samples button >> nth=1")
        page.wait_for_selector("body[data-state=done]")
        page.fill("#compare", "42")
        page.hover(".frame", position={"x": 700, "y": 560})
        page.wait_for_timeout(1000)  # for what is known of the pixel
        page.screenshot(path=IMG / "page.jpg", type="jpeg", quality=80)


def page_of_a_comparison(folder: Path) -> None:
    """fcn view of two runs."""
    predict([str(EXAMPLES)], out=folder / "results", save="mask")
    predict([str(EXAMPLES)], out=folder / "averaged", save="mask", flip=True, scales="0.75,1,1.25")
    held = open_folder(folder / "results", truth=folder / "averaged")
    with (
        served(create_view(held)) as address,
        chromium() as browser,
        opened(browser, address, viewport={**DESKTOP, "height": 620}) as page,
    ):
        page.wait_for_function("() => document.querySelector('.score')?.textContent")
        page.click(".card button:has-text('old_town')")
        page.wait_for_selector("body[data-state=one]")
        page.hover("[data-layer=prediction] .frame", position={"x": 330, "y": 262})
        page.wait_for_timeout(1000)
        page.screenshot(path=IMG / "view.jpg", type="jpeg", quality=80)


if __name__ == "__main__":
    page_of_a_server()
    with tempfile.TemporaryDirectory() as made:
        page_of_a_comparison(Path(made))
