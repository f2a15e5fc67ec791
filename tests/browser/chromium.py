"""Chromium, and what every page has to keep to: no errors, no findings of axe, no wider than the screen."""

import contextlib
import os
import subprocess

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

SECONDS = 30
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# All rules for WCAG 2.2 AA and axe's best practices; the size of buttons is not among axe's defaults.
RULES = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}


@contextlib.contextmanager
def chromium():
    # Root has no sandbox, and containers have little shared memory.
    options = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=options)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser, **settings):
    """A window with its own cookies. Ends with an error if a page in it had one, such as a breach of its policy.

    Yields the page, and the list of its errors. A test that provokes an error empties the list.
    """
    context = browser.new_context(**{"viewport": WIDE, **settings})
    context.set_default_timeout(SECONDS * 1000)
    page, errors = context.new_page(), []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page, errors
    assert not errors, errors
    context.close()


def faults(page, what):
    """What axe finds, and what reaches beyond the screen, but for parts that scroll by themselves."""
    found = Axe().run(page, options=RULES).response["violations"]
    found = [f"{what}: {rule['id']}, {rule['help']}: {node['html']}" for rule in found for node in rule["nodes"]]
    beyond = page.evaluate(
        """() => {
            const limit = document.documentElement.clientWidth;
            const parts = [...document.body.querySelectorAll("*")].filter((part) => !part.closest(".wide > *"));
            return parts.filter((part) => part.getBoundingClientRect().right > limit + 0.5).map((part) => part.outerHTML.slice(0, 200));
        }"""
    )
    return found + [f"{what}: wider than the screen: {part}" for part in beyond]


def assert_faultless(page, what):
    found = faults(page, what)
    assert not found, "\n".join(found)


def fivefold(*arguments):
    """Runs a command of the client, and returns what it prints."""
    command = [os.path.join(os.environ["FIVEFOLD_BIN"], "fivefold"), *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def submit(data, name, *settings):
    """Submits a job set of two folds that trains for a few seconds, and returns its id."""
    lists = ["--train-csv", f"{data}/train.csv", "--test-csv", f"{data}/sample_submission.csv"]
    small = ["--model_name=resnet18", "--folds=2", "--image_size=32", "--batch_size=4", "--tta=1"]
    small += ["--train_batch_per_epoch=3", "--valid_batch_per_epoch=2"]
    return fivefold("submit", "--name", name, *lists, *small, *settings)
