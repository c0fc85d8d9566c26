"""Headless Chromium for tests of the report's page."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

REQUIRED = "CDE_BROWSER_TESTS"
"""Set to `required`, as by `.ci/run`, a missing browser fails the tests and does not skip them."""


@contextmanager
def chromium() -> Iterator[Chrome]:
    """Start the browser; skip the test with a warning if it is not installed, or fail where it must be."""
    paths = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in paths:
        said = "THE PAGE OF THE REPORT IS NOT TESTED: needs chromium and chromedriver (apt-get install chromium-driver)"
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(said)
        warnings.warn(said, stacklevel=2)
        pytest.skip(said)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(paths[0])
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=1280,900"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(paths[1])))
    try:
        yield driver
    finally:
        driver.quit()
