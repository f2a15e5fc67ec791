"""Looks at every page in both colour schemes, on a wide and on a narrow screen, with axe, and follows every link.

    appearance.py http://127.0.0.1:PORT FOLDER     live.py has left the job sets `night` and `spare` there
"""

import json
import sys

from chromium import NARROW, SECONDS, WIDE, chromium, faults, fivefold, opened, submit
from playwright.sync_api import expect

BACK = "getComputedStyle(document.body).backgroundColor"

expect.set_options(timeout=SECONDS * 1000)


def job_sets(data):
    """The ids of job sets in every state, by name."""
    submit(data, "too-fast", "--learning_rate=100", "--optimizer=sgd", "--weight_decay=1")
    submit(data, "later", "--epochs=50")
    fivefold("pause", "later")
    submit(data, "dropped", "--epochs=50")
    fivefold("cancel", "dropped")
    # The worker takes the folds of one job set after another.
    fivefold("pause", "spare")
    return {name: json.loads(fivefold("status", name, "--json"))["id"] for name in ("night", "spare", "too-fast", "later", "dropped")}


def main():
    address, folder = sys.argv[1:]
    ids = job_sets(f"{folder}/data")
    night, spare = ids["night"], ids["spare"]
    paths = ["", "workers", f"compare?id={night}&id={spare}", "compare", "login", f"job-sets/{night}/report"]
    paths += [f"job-sets/{night}/log", f"job-sets/{night}/log?fold=0"] + [f"job-sets/{id}" for id in ids.values()]
    problems = ["nowhere", "job-sets/js-zzzzzzzz", f"job-sets/{spare}/report", "assets/none.css"]
    found, links = [], set()
    with chromium() as browser:
        with opened(browser) as (page, _):
            page.goto(f"{address}/job-sets/{ids['too-fast']}")
            expect(page.get_by_role("heading", level=1)).to_contain_text("failed")
        with opened(browser) as (page, errors):
            for path in paths + problems:
                page.emulate_media(color_scheme="light")
                page.set_viewport_size(WIDE)
                answer = page.goto(f"{address}/{path}")
                assert answer.status == (404 if path in problems else 200), (path, answer.status)
                if path in problems:
                    expect(page.get_by_role("heading", level=1)).to_have_text("This did not work")
                    errors.clear()
                if path == f"job-sets/{night}":
                    expect(page.locator(".curves canvas")).to_have_count(2)
                found += faults(page, f"/{path}, light, wide")
                links.update(page.evaluate("[...document.links].map((link) => link.href)"))
                light = page.evaluate(BACK)
                page.emulate_media(color_scheme="dark")
                page.set_viewport_size(NARROW)
                page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
                found += faults(page, f"/{path}, dark, narrow")
                assert page.evaluate(BACK) != light, light
        assert not found, "\n".join(found)
        with opened(browser) as (page, _):
            for link in sorted(links):
                assert link.startswith(address), link
                assert page.request.get(link).ok, link
    count = len(paths + problems)
    print(f"{count} pages have no findings, light and wide, dark and narrow; {len(links)} links lead somewhere")


main()
