"""Asks a Prometheus that scrapes the coordinator for every expression of the dashboard and the alert rules: each has to have an
answer, an alert's without its comparison, and none may fire.

    prometheus.py http://127.0.0.1:9090
"""

import json
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request

DEPLOY = pathlib.Path(__file__).parents[2] / "deploy"
# Rates need two scrapes.
PATIENCE_SECONDS = 60


def ask(prometheus, path):
    with urllib.request.urlopen(f"{prometheus}/api/v1/{path}") as answer:
        return json.load(answer)["data"]


def query(prometheus, expression):
    return ask(prometheus, "query?" + urllib.parse.urlencode({"query": expression}))["result"]


def answered(prometheus, expression):
    until = time.monotonic() + PATIENCE_SECONDS
    while not (result := query(prometheus, expression)):
        assert time.monotonic() < until, f"no answer to {expression}"
        time.sleep(0.2)
    return result


def main():
    prometheus = sys.argv[1]
    dashboard = json.loads((DEPLOY / "grafana/fivefold.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]
    assert len(expressions) > 10 and len(rules) == 6, (expressions, rules)
    # The comparison leaves nothing where all is well.
    expressions += [re.sub(r"\s[<>]\s[0-9.]+$", "", rule["query"]) for rule in rules]
    for expression in expressions:
        print(f"{len(answered(prometheus, expression))} series: {expression}")
    # Two folds trained and predicted, once the last one is scraped.
    answered(prometheus, "fivefold_jobs_completed_total == 4")
    for rule in rules:
        assert rule["health"] == "ok" and rule["state"] == "inactive", rule


main()
