"""A headless Chromium for the tests of pages; missing programs are an error, never a skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


def program(name: str) -> str:
    """Return the path of a program, or fail with the command that installs it."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(
            f"{name} must be installed for the browser tests; got no such program on PATH. "
            "Run `apt-get install -y chromium chromium-driver` as root."
        )
    return found


@contextmanager
def open_browser(profile: Path) -> Iterator[Chrome]:
    """Open a browser with an empty profile that records its console and its requests."""
    options = ChromeOptions()
    options.binary_location = program("chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(program("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
