"""Makes tests/fixtures/digits: a small part of the data sets of examples/digits, as its make.py draws them.

    python tests/golden/digits.py [--out FOLDER]

Requires requirements.txt beside this file. 200 images of one digit and 40 to test; 240 canvases and 20 to test.
"""

import argparse
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples/digits"))

from make import make  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "tests/fixtures/digits")
    out = parser.parse_args().out
    for name in ("digits", "canvas"):
        shutil.rmtree(out / name, ignore_errors=True)
    make(out, digits=240, canvases=240, test_canvases=20, seed=1)


if __name__ == "__main__":
    main()
