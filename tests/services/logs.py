"""Checks that every line of these logs is a JSON object with time, level and message."""

import datetime
import json
import sys

for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as log:
        lines = log.read().splitlines()
    assert lines, f"{path} is empty"
    for number, line in enumerate(lines, 1):
        entry = json.loads(line)
        assert entry["level"] in {"ERROR", "WARN", "INFO"} and entry["message"], f"{path}:{number}: {line}"
        datetime.datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00"))
    print(f"{path}: {len(lines)} JSON lines")
