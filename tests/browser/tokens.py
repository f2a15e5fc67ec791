"""Logs in to the page with tokens of each role, and forges requests from another origin.

    tokens.py http://127.0.0.1:PORT FOLDER     FOLDER has the coordinator's state/; live.py has left the job set `spare`
"""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time

from chromium import NARROW, SECONDS, WIDE, assert_faultless, chromium, fivefold, opened
from playwright.sync_api import expect

# What scripts do: send a form blindly, read a page, send a form and read the answer.
SEND = "url => fetch(url, { method: 'POST', mode: 'no-cors', credentials: 'include' }).then(() => 'sent', () => 'refused')"
READ = "url => fetch(url, { credentials: 'include' }).then(() => 'read', () => 'refused')"
POST = "async (url) => { const answer = await fetch(url, { method: 'POST' }); return [answer.status, await answer.text()]; }"

expect.set_options(timeout=SECONDS * 1000)


def token(folder, command, *arguments):
    program = os.path.join(os.environ["FIVEFOLD_BIN"], "fivefold-coordinator")
    command = [program, "token", command, "--state", f"{folder}/state", *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def wait_for_login(page, address):
    """Commands about tokens count within a second."""
    until = time.monotonic() + SECONDS
    while "/login" not in page.request.get(f"{address}/workers").url:
        assert time.monotonic() < until, "the page wants no token"


def log_in(page, secret):
    page.get_by_label("Token").fill(secret)
    page.get_by_role("button", name="Log in").click()


def refuse_others(browser, address, path, worker):
    with opened(browser, color_scheme="dark") as (page, _):
        wait_for_login(page, address)
        page.goto(f"{address}/{path}")
        for secret, answer in [("ffv1_nonsense", "unknown or was revoked"), (worker, "worker's token")]:
            log_in(page, secret)
            expect(page.get_by_role("alert")).to_contain_text(answer)
            for screen in (WIDE, NARROW):
                page.set_viewport_size(screen)
                assert_faultless(page, "a refused login")
        assert page.request.get(f"{address}/metrics").status == 403
        assert page.request.get(f"{address}/{path}/live").url.startswith(f"{address}/login")


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """A page of another origin, with a form and a frame."""

    target = ""

    def do_GET(self):
        body = '<!doctype html><title>Elsewhere</title><link rel="icon" href="data:,">'
        body += f'<form method="post" action="{self.target}"><button>Win</button></form>'
        if "frame" in self.path:
            body += f'<iframe src="{self.target.rsplit("/", 1)[0]}"></iframe>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


def forge(page, errors, address, path):
    """The browser is logged in at `address`, and has its cookie."""
    Elsewhere.target = f"{address}/{path}/cancel"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # The first is the same site, for which only the port differs: its forms come with the cookie.
    for host in ("127.0.0.1", "localhost"):
        other = f"http://{host}:{server.server_port}/"
        page.goto(other)
        with page.expect_response(Elsewhere.target) as answer:
            page.get_by_role("button", name="Win").click()
        assert answer.value.status == 403, (host, answer.value.status)
        expect(page.locator("main")).to_contain_text("did not come from the page itself")
        assert_faultless(page, "a refused form")
        page.goto(other)
        page.evaluate(SEND, Elsewhere.target)
        assert page.evaluate(READ, f"{address}/{path}") == "refused", host
        with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
            page.goto(f"{other}frame")
        expect(page.frame_locator("iframe").get_by_role("heading")).to_have_count(0)
    errors.clear()
    server.shutdown()
    # Programs that have the cookie but say nothing of where they are.
    assert page.request.post(Elsewhere.target).status == 403
    page.goto(f"{address}/{path}")
    expect(page.get_by_role("heading", level=1)).not_to_contain_text("cancelled")


def main():
    address, folder = sys.argv[1:]
    path = f"job-sets/{json.loads(fivefold('status', 'spare', '--json'))['id']}"
    secrets = {role: token(folder, "create", "--name", role, "--role", role) for role in ("user", "read-only", "worker")}
    os.environ["FIVEFOLD_TOKEN"] = secrets["user"]
    with chromium() as browser:
        refuse_others(browser, address, path, secrets["worker"])
        with opened(browser) as (page, errors):
            page.goto(f"{address}/{path}")
            log_in(page, secrets["user"])
            expect(page).to_have_url(f"{address}/{path}")
            forge(page, errors, address, path)
            page.get_by_role("button", name="Resume").click()
            expect(page.get_by_role("heading", level=1)).to_contain_text("training")
            page.get_by_role("button", name="Log out").click()
            expect(page).to_have_url(re.compile("/login"))
            page.goto(f"{address}/workers")
            expect(page).to_have_url(f"{address}/login?next=workers")

        with opened(browser) as (page, errors):
            page.clock.install()
            page.goto(f"{address}/workers")
            log_in(page, secrets["read-only"])
            expect(page.get_by_role("row", name=re.compile("ada"))).to_be_visible()
            expect(page.locator("main").get_by_role("button")).to_have_count(0)
            page.goto(f"{address}/{path}")
            expect(page.get_by_role("heading", level=1)).to_contain_text("spare")
            expect(page.locator("main").get_by_role("button")).to_have_count(0)
            expect(page.locator("main summary")).to_have_text(["All settings"])
            assert_faultless(page, "a job set without controls")
            # A form of the page itself, but by somebody who may not.
            status, text = page.evaluate(POST, f"{address}/{path}/cancel")
            assert status == 403 and "read-only" in text, (status, text)
            errors.clear()

            # The session ends with its token; an open page finds out.
            token(folder, "revoke", "read-only")
            wait_for_login(page, address)
            fivefold("pause", "spare")
            expect(page.locator(".connection")).to_contain_text("does not answer")
            page.clock.fast_forward(10_000)
            expect(page).to_have_url(re.compile("/login"))
            errors.clear()
    print("the page wants a token, a read-only one shows no controls, and forged requests are refused")


main()
