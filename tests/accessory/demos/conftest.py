"""The browser that the tests of canvas and demo share."""

import pytest


# One per file: as long as it is open, its event loop is in the way of tests that run one of their own.
@pytest.fixture(scope="module")
def browser():
    from tests.accessory.demos.browser import CHROMIUM, QUIET, sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()
