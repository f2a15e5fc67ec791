"""Takes pictures of the page, small enough for a repository.

    screenshots.py http://127.0.0.1:PORT TRAINED RUNNING FOLDER     TRAINED and RUNNING are job sets
"""

import io
import pathlib
import sys

from chromium import chromium, opened
from PIL import Image
from playwright.sync_api import expect

LIMIT_BYTES = 80_000
WIDE, NARROW = {"width": 900, "height": 900}, {"width": 390, "height": 1000}


def take(page, file, height):
    page.evaluate("scrollTo(0, 0)")
    page.locator("main").hover(position={"x": 1, "y": 1})
    width = page.viewport_size["width"]
    height = min(height, page.evaluate("document.body.scrollHeight"))
    picture = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": width, "height": height})
    # The page has few colours.
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(file, optimize=True)
    size_bytes = file.stat().st_size
    assert size_bytes < LIMIT_BYTES, f"{file} has {size_bytes} bytes"
    print(f"{file}: {width} x {height}, {size_bytes} bytes")


def main():
    address, trained, running, folder = sys.argv[1:]
    folder = pathlib.Path(folder)
    with chromium() as browser:
        with opened(browser, viewport=WIDE, timezone_id="UTC", locale="en-GB", color_scheme="light") as (page, _):
            page.goto(f"{address}/job-sets/{trained}")
            expect(page.locator(".curves canvas")).to_have_count(2)
            take(page, folder / "page-job-set.png", 1450)
            page.goto(f"{address}/job-sets/{trained}/report")
            take(page, folder / "page-report.png", 700)
            # Both workers have finished some epochs.
            page.goto(f"{address}/job-sets/{running}")
            for row in (1, 2):
                expect(page.get_by_role("row").nth(row)).to_contain_text("(epoch", timeout=600_000)
            expect(page.get_by_role("row").nth(1)).to_contain_text("epoch 5/", timeout=600_000)
            page.goto(address)
            take(page, folder / "page-job-sets.png", 900)
        with opened(browser, viewport=NARROW, timezone_id="UTC", locale="en-GB", color_scheme="dark") as (page, _):
            page.goto(f"{address}/job-sets/{running}")
            expect(page.locator(".curves canvas")).to_have_count(2)
            take(page, folder / "page-narrow.png", 1000)


main()
