"""The explorer in a browser: right numbers, no network, no script but its own, by keyboard, on a phone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from cde_app.machine.loopback import PageServer
from cde_app.predictive.forecast import Forecast
from cde_app.report.html import make_report, render_page
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.explore import answer
from cde_app.workflow.explorer import explorer_data, known_data, surroundings_of
from cde_app.workflow.report import describe_columns
from cde_app.workflow.scoring import table_to_judge_by
from tests.conftest import TrainedTiny
from tests.report.browser import chromium

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = pytest.mark.slow

EVIL = "<script>alert(1)</script>"
LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]


@dataclass(frozen=True)
class Explored:
    """A page in a browser and the model that it shows."""

    browser: Chrome
    model: TrainedModel
    address: str
    data: dict[str, Any]

    def forecast(self, **values: object) -> Forecast:
        """Return the model's own forecast."""
        return self.model.predict(pd.DataFrame({name: [value] for name, value in values.items()}))

    def quantiles(self, target: int) -> list[float]:
        """Return the quantiles that the page shows."""
        cells = self.browser.find_elements("css selector", ".view .numbers")[target].find_elements("tag name", "td")
        return [number(cell.text) for cell in cells]

    def wait(self) -> None:
        """Wait until the page has drawn the last change."""
        time.sleep(0.3)

    def reload(self) -> None:
        """Open the page anew, as it was at first."""
        self.browser.get(self.address)
        until(lambda: bool(self.quantiles(0)[0] == self.quantiles(0)[0]))


def number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-"))


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if holds():
                return
        except (ValueError, IndexError):  # not drawn yet
            pass
        time.sleep(0.05)
    raise AssertionError("the page did not get there in time")


def model_and_rows(run_path: Path, *, evil: bool = False) -> tuple[TrainedModel, Any]:
    run = Run.open(run_path)
    model = TrainedModel.load(run)
    with table_to_judge_by(run, model, None) as table:
        around = surroundings_of(model, table)
    assert around is not None
    if evil:
        first, *others = model.contract.inputs
        labels = tuple(f"{EVIL}{label}" for label in others[0].vocabulary)
        features = tuple(replace(one, name=one.name.replace("region=", f"region={EVIL}")) for one in others[0].features)
        features = tuple(replace(one, name=one.name.replace(f"{EVIL}<other>", "<other>")) for one in features)
        numbers = tuple(replace(one, name=EVIL) for one in first.features)
        inputs = (replace(first, name=EVIL, features=numbers), replace(others[0], vocabulary=labels, features=features))
        contract = replace(model.contract, inputs=inputs, targets=(EVIL, "b"), units=(EVIL, ""))
        model, around = replace(model, contract=contract), replace(around, contract=contract)
    return model, around


def page_of(model: TrainedModel, data: dict[str, Any]) -> str:
    report = make_report("the run", {}, "seed: 0\n", {}, [], [], describe_columns(model.contract))
    return render_page(report, {}, data)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def on_disk(browser: Chrome, tiny_run: TrainedTiny, tmp_path_factory: pytest.TempPathFactory) -> Explored:
    model, around = model_and_rows(tiny_run.run)
    data = explorer_data(model, around, most_bytes=1_000_000)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_of(model, data), encoding="utf-8")
    return Explored(browser, model, path.as_uri(), data)


@pytest.fixture(scope="module")
def served(browser: Chrome, tiny_run: TrainedTiny) -> Iterator[Explored]:
    model, around = model_and_rows(tiny_run.run)
    data = known_data(model, around, scale=np.ones(len(model.contract.feature_names))) | {"live": True}
    server = PageServer(page_of(model, data).encode(), lambda body: answer(model, around, body), port=0)
    thread = Thread(target=server.serve)
    thread.start()
    yield Explored(browser, model, server.address, data)
    server.stop()
    thread.join()


def messages(browser: Chrome) -> list[str]:
    """Return what the console has said since it was last asked, the browser's own search for an icon excepted."""
    return [entry["message"] for entry in browser.get_log("browser") if "favicon.ico" not in entry["message"]]


def requested(browser: Chrome) -> list[str]:
    """Return the addresses that were requested since this was last asked."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith("data:") and "favicon.ico" not in url]


def move_to(explored: Explored, index: int, value: float) -> None:
    """Type a value into the number box of an input."""
    box = explored.browser.find_elements("css selector", "#controls .input")[index].find_element(
        "css selector", "input[type=number]"
    )
    box.clear()
    box.send_keys(str(value))
    explored.wait()


def choose(explored: Explored, css: str, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(explored.browser.find_element("css selector", css)).select_by_visible_text(text)
    explored.wait()


def test_the_page_from_disk_asks_for_nothing_and_the_console_is_silent(on_disk: Explored) -> None:
    on_disk.browser.get("about:blank")
    requested(on_disk.browser), messages(on_disk.browser)
    on_disk.reload()
    for value in (-1.0, 0.5, 1.9):
        move_to(on_disk, 0, value)
    assert requested(on_disk.browser) == [on_disk.address]
    assert messages(on_disk.browser) == []


@pytest.mark.parametrize(("x", "region"), [(-1.7, "north"), (0.33, "south"), (1.2, "north")])
def test_the_numbers_are_the_models_up_to_the_error_that_the_page_states(
    on_disk: Explored, x: float, region: str
) -> None:
    """Within the largest error of the page's own check, which is small; 1e-4 is for the digits shown."""
    on_disk.reload()
    move_to(on_disk, 0, x)
    choose(on_disk, "#input-1", region)
    forecast, allowed = on_disk.forecast(x=x, region=region), on_disk.data["error"]["largest"]
    assert allowed < 0.03
    other = on_disk.forecast(x=x + 1.0, region=region)
    for p, name in enumerate(("a", "b")):
        shown = on_disk.quantiles(p)
        assert shown == sorted(shown)
        stated = [float(forecast.marginal(name).cdf([q])[0, 0]) for q in shown]
        assert np.abs(np.array(stated) - LEVELS).max() < allowed + 1e-3
        wrong = [float(other.marginal(name).cdf([q])[0, 0]) for q in shown]
        assert np.abs(np.array(wrong) - LEVELS).max() > allowed + 1e-3, "the control"


def test_served_the_numbers_are_exact_and_nobody_else_is_asked(served: Explored) -> None:
    served.browser.get("about:blank")
    requested(served.browser), messages(served.browser)
    served.reload()
    move_to(served, 0, 0.77)
    choose(served, "#input-1", "south")
    forecast = served.forecast(x=0.77, region="south")
    until(lambda: abs(served.quantiles(0)[2] / forecast.quantile(0.5)[0, 0] - 1) < 1e-3)
    for p in (0, 1):
        assert served.quantiles(p) == pytest.approx(forecast.quantile(LEVELS)[:, 0, p], rel=6e-4)
    box = served.browser.find_element("id", "threshold-0")
    box.clear()
    box.send_keys("0.2")
    chance = float(forecast.probability(above=0.2, target="a")[0])
    shown = served.browser.find_element("id", "chance-0")
    until(lambda: shown.text == f"{100 * chance:.1f}\u202f%")
    assert {urlsplit(url).netloc for url in requested(served.browser)} == {urlsplit(served.address).netloc}
    assert messages(served.browser) == []


def curve(explored: Explored, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the density that is drawn: values of the target, by the labels of the axis, and heights."""
    view = explored.browser.find_elements("css selector", ".view svg")[index]
    path = view.find_element("css selector", ".curve").get_attribute("d") or ""
    points = np.array([[float(one) for one in pair.split()] for pair in re.findall(r"[ML]([^MLZ]+)", path)])
    ticks = view.find_elements("css selector", ".tick-x")
    known = [(float(tick.get_attribute("x") or ""), number(tick.text)) for tick in ticks]
    slope, level = np.polyfit(*zip(*known, strict=True), 1)
    floor = float(view.find_element("css selector", ".floor").get_attribute("y1") or "")
    return level + slope * points[:, 0], floor - points[:, 1]


def test_the_slider_moves_the_curve_to_the_models_density(served: Explored) -> None:
    from selenium.webdriver.common.keys import Keys

    served.reload()
    choose(served, "#input-1", "north")
    slider = served.browser.find_element("id", "input-0")
    for key in (Keys.HOME, Keys.PAGE_UP, Keys.PAGE_UP, Keys.ARROW_RIGHT):
        slider.send_keys(key)
    served.wait()
    x = float(served.browser.find_element("css selector", "#controls input[type=number]").get_attribute("value") or "")
    for index, name in enumerate(("a", "b")):
        values, heights = curve(served, index)
        density = np.exp(served.forecast(x=x, region="north").marginal(name).log_prob_at(values)[0])
        assert np.allclose(heights / heights.max(), density / density.max(), atol=0.02)
        wrong = np.exp(served.forecast(x=x + 1, region="north").marginal(name).log_prob_at(values)[0])
        assert not np.allclose(heights / heights.max(), wrong / wrong.max(), atol=0.02), "the control"


def test_the_keyboard_alone_suffices(on_disk: Explored) -> None:
    from selenium.webdriver.common.keys import Keys

    on_disk.reload()
    seen = []
    for _ in range(40):
        on_disk.browser.switch_to.active_element.send_keys(Keys.TAB)
        active = on_disk.browser.switch_to.active_element
        seen.append(active.get_attribute("id"))
        if active.get_attribute("id") == "row":
            active.send_keys(Keys.ARROW_DOWN)
        if active.get_attribute("id") == "input-0":
            before = on_disk.quantiles(0)
            active.send_keys(Keys.PAGE_UP)
            on_disk.wait()
            assert on_disk.quantiles(0) != before
        if active.get_attribute("id") == "choose-along":
            title = on_disk.browser.find_elements("css selector", ".view svg .axis .title")
            active.send_keys(Keys.ARROW_DOWN)
            on_disk.wait()
            assert "region" in [one.text for one in on_disk.browser.find_elements("css selector", ".axis .title")]
            assert title
        outline = on_disk.browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        assert active.tag_name == "body" or outline != "none", "the focus is visible"
    wanted = ["row", "input-0", "input-1", "threshold-0", "threshold-1", "choose-alongTarget", "choose-along"]
    assert [one for one in seen if one in wanted][: len(wanted)] == wanted


def test_beyond_the_training_rows_the_densities_are_grey(on_disk: Explored) -> None:
    on_disk.reload()
    said, views = on_disk.browser.find_element("id", "outside"), on_disk.browser.find_element("id", "views")
    move_to(on_disk, 0, 0.5)
    assert (said.is_displayed(), "extrapolated" in (views.get_attribute("class") or "")) == (False, False)
    move_to(on_disk, 0, 2.2)
    assert "x is outside its training range" in said.text
    assert "extrapolated" in (views.get_attribute("class") or "")


def test_a_row_brings_its_inputs_and_what_happened(on_disk: Explored, tiny_run: TrainedTiny) -> None:
    on_disk.reload()
    select = on_disk.browser.find_element("id", "row")
    option = select.find_elements("tag name", "option")[3]
    row = int(re.findall(r"\d+", option.text)[0])
    option.click()
    on_disk.wait()
    wanted = pd.read_csv(tiny_run.table).iloc[row - 1]
    box = on_disk.browser.find_element("css selector", "#controls input[type=number]")
    assert float(box.get_attribute("value") or "") == pytest.approx(wanted["x"], rel=1e-6)
    assert len(on_disk.browser.find_elements("css selector", ".view svg .observed")) == 3  # two densities, one map
    move_to(on_disk, 0, 0.0)
    assert on_disk.browser.find_elements("css selector", ".view svg .observed") == []


def first_columns(page: Explored) -> list[float]:
    """Return the widths of the columns that name the rows of a table [px]; a table of quantiles has numbers only."""
    cells = "document.querySelectorAll('.scroll thead th:first-child:not(.number)')"
    return list(page.browser.execute_script(f"return [...{cells}].map((cell) => cell.clientWidth)"))


@pytest.mark.parametrize("width", [360, 390])
def test_it_fits_a_phone(on_disk: Explored, width: int) -> None:
    sizes = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    on_disk.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
    try:
        on_disk.reload()
        assert on_disk.browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert len(first_columns(on_disk)) > 0
        assert min(first_columns(on_disk)) >= 100, "names of rows are not broken into letters"
        on_disk.browser.execute_script(
            "document.styleSheets[0].insertRule('.scroll th { min-width: 0 !important }', 0)"
        )
        long = "document.querySelectorAll('.scroll td').forEach((cell) => { cell.style.minWidth = '9rem'; })"
        on_disk.browser.execute_script(long)
        assert min(first_columns(on_disk)) < 100, "the control: between wide cells they would be"
        on_disk.browser.find_element("id", "input-0").location_once_scrolled_into_view  # noqa: B018
        summary = on_disk.browser.find_element("id", "summary")
        assert summary.is_displayed()
        before = summary.text
        move_to(on_disk, 0, 1.5)
        assert summary.text != before
    finally:
        on_disk.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_texts_of_the_user_are_text_and_no_other_script_runs(
    browser: Chrome, tiny_run: TrainedTiny, tmp_path: Path
) -> None:
    model, around = model_and_rows(tiny_run.run, evil=True)
    (tmp_path / "page.html").write_text(page_of(model, explorer_data(model, around, most_bytes=600_000)), "utf-8")
    messages(browser)
    browser.get((tmp_path / "page.html").as_uri())
    until(lambda: len(browser.find_elements("css selector", ".view svg")) == 4)
    assert browser.find_element("css selector", "#controls .input label").text == EVIL
    assert f"{EVIL} [{EVIL}]" in browser.find_element("css selector", ".view figcaption").text
    labels = [one.text for one in browser.find_elements("css selector", "#input-1 option")]
    assert labels == [f"{EVIL}north", f"{EVIL}south"]
    assert len(browser.find_elements("tag name", "script")) == 2, "the data and the explorer"
    assert messages(browser) == []
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )
    assert browser.execute_script("return window.ran") is None
    assert any("Content Security Policy" in message for message in messages(browser))


def test_print_and_screen_readers_have_what_they_need(on_disk: Explored) -> None:
    on_disk.reload()
    labels = [one.get_attribute("aria-label") for one in on_disk.browser.find_elements("css selector", ".view svg")]
    assert all("probability" in str(label) or "median" in str(label) for label in labels)
    until(lambda: "Median" in (on_disk.browser.find_element("id", "announce").get_attribute("textContent") or ""))
    unnamed = on_disk.browser.execute_script(
        "return [...document.querySelectorAll('#explorer input, #explorer select')]"
        ".filter((one) => !one.labels.length && !one.ariaLabel).length"
    )
    assert unnamed == 0
    on_disk.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = on_disk.browser.find_element("id", "input-0").is_displayed()
    on_disk.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert not shown, "a slider on paper"
