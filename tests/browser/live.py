"""Follows a job set on the page from its submission to its files, and uses every control.

    live.py http://127.0.0.1:PORT FOLDER     FOLDER has the images in data/
"""

import re
import sys

from chromium import NARROW, SECONDS, assert_faultless, chromium, opened, submit
from playwright.sync_api import expect

expect.set_options(timeout=SECONDS * 1000)


def keep(page):
    """Marks the document; a page that is loaded anew has no mark."""
    page.evaluate("window.isKept = true")


def assert_kept(page):
    assert page.evaluate("window.isKept === true"), "the page was loaded anew"


def follow(page, address, data):
    page.goto(address)
    expect(page.locator("main")).to_contain_text("There are no job sets here")
    assert_faultless(page, "the list without job sets")
    keep(page)
    job_set = submit(data, "night", "--epochs=4")
    expect(page.get_by_role("link", name="night")).to_be_visible()
    assert_kept(page)
    page.get_by_role("link", name="night").click()
    expect(page).to_have_url(f"{address}/job-sets/{job_set}")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_contain_text("training")
    keep(page)
    page.get_by_text("All settings", exact=True).click()

    # The curves appear with the first epoch, and get the later ones.
    expect(page.locator(".curves canvas")).to_have_count(2)
    expect(heading).to_contain_text("training")
    expect(page.get_by_role("table").first).to_contain_text("ada")
    version = page.locator("[data-curves]").get_attribute("data-version")
    expect(page.locator("[data-curves]")).not_to_have_attribute("data-version", version)
    expect(page.locator(".curves canvas")).to_have_count(2)
    expect(heading).to_contain_text("succeeded", timeout=4 * SECONDS * 1000)
    expect(page.get_by_role("link", name="submission.csv")).to_be_visible()
    assert_kept(page)
    assert page.locator("details", has_text="All settings").evaluate("part => part.open"), "an update has closed it"
    print(f"the page followed {job_set} to its end")
    return job_set


def read(page, address, job_set):
    """What a job set that has ended shows."""
    for name, start in [("oof.csv", b"Id,"), ("report.json", b"{"), ("submission.csv", b"Id,Predicted")]:
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename == name
        with open(download.value.path(), "rb") as file:
            assert file.read().startswith(start), name
    curves = page.evaluate("path => fetch(path).then((answer) => answer.json())", f"{address}/job-sets/{job_set}/curves")
    assert curves["epochs"] == [1, 2, 3, 4] and [fold["fold"] for fold in curves["folds"]] == [0, 1], curves

    page.get_by_role("link", name="by label and fold").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Report of night")
    expect(page.get_by_role("row", name=re.compile("Nucleoplasm"))).to_be_visible()
    page.get_by_role("link", name="night").click()
    page.get_by_role("link", name="What the workers said").click()
    page.get_by_role("link", name="fold 1").click()
    expect(page.get_by_role("row")).not_to_have_count(1)
    folds = page.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert {fold.split()[0] for fold in folds} == {"1"}, folds


def control(page, address, data):
    job_set = submit(data, "spare", "--epochs=500")
    page.goto(f"{address}/job-sets/{job_set}")
    heading = page.get_by_role("heading", level=1)

    def press(button, state):
        page.get_by_role("button", name=button, exact=True).click()
        expect(page).to_have_url(f"{address}/job-sets/{job_set}")
        expect(heading).to_contain_text(state)

    press("Pause", "paused")
    press("Resume", "training")
    page.goto(f"{address}/workers")
    page.get_by_role("button", name="Drain: ada").click()
    expect(page.get_by_role("row", name=re.compile("ada"))).to_contain_text("(drained)")
    page.get_by_role("button", name="Take back into service: ada").click()
    expect(page.get_by_role("row", name=re.compile("ada"))).not_to_contain_text("(drained)")
    page.goto(f"{address}/job-sets/{job_set}")
    expect(page.get_by_role("button", name="Cancel this job set")).not_to_be_visible()
    for _ in range(2):
        page.locator("summary", has_text="Cancel").click()
        press("Cancel this job set", "cancelled")
        expect(page.get_by_role("button", name="Pause")).to_have_count(0)
        press("Retry", "training")
    print("pause, resume, drain, take back, cancel and retry do so")
    return job_set


def stay(browser, address, job_set):
    """Updates leave a narrow screen where it is: scrolled both ways, and with a focus."""
    with opened(browser, viewport=NARROW) as (page, _):
        page.goto(f"{address}/job-sets/{job_set}")
        expect(page.locator(".curves canvas")).to_have_count(2)
        keep(page)
        page.locator("summary", has_text="Cancel").focus()
        page.evaluate("scrollTo(0, 300); document.querySelector('.wide').scrollLeft = 120")
        before = page.get_by_role("table").first.inner_text()
        page.wait_for_function("text => document.querySelector('table').innerText !== text", arg=before)
        place = page.evaluate("[scrollY, document.querySelector('.wide').scrollLeft, document.activeElement.textContent]")
        assert place == [300, 120, "Cancel"], place
        assert_kept(page)
        expect(page.get_by_role("link", name="The curves as numbers")).to_be_visible()


def compare(page, address, job_sets):
    page.goto(address)
    keep(page)
    for name in ("night", "spare"):
        page.get_by_role("checkbox", name=f"Mark {name}").check()
    before = page.locator("ul.sets").inner_text()
    # Marks outlive updates of the list.
    page.wait_for_function("text => document.querySelector('ul.sets').innerText !== text", arg=before)
    assert_kept(page)
    page.get_by_role("button", name="Compare the marked job sets").click()
    expect(page.get_by_role("row", name=re.compile("^epochs"))).to_have_text(re.compile("500.*4|4.*500"))
    expect(page.locator("thead a")).to_have_count(len(job_sets))


def without_script(browser, address, job_set):
    with opened(browser, java_script_enabled=False) as (page, _):
        page.goto(f"{address}/job-sets/{job_set}")
        expect(page.get_by_role("heading", level=1)).to_contain_text("night")
        expect(page.get_by_role("link", name="The curves as numbers")).to_be_visible()
        page.goto(f"{address}/job-sets/{job_set}/report")
        expect(page.get_by_role("row", name=re.compile("Nucleoplasm"))).to_be_visible()


def main():
    address, folder = sys.argv[1:]
    with chromium() as browser:
        with opened(browser) as (page, _):
            night = follow(page, address, f"{folder}/data")
            read(page, address, night)
            spare = control(page, address, f"{folder}/data")
            stay(browser, address, spare)
            compare(page, address, [night, spare])
        without_script(browser, address, night)


main()
