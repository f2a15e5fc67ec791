"""Loads images of 512 px and three planes in one thread, each time all of them from the page cache, and prints images/s: PNG
files with OpenCV, samples of MosaicML Streaming, and samples of LitData.

    compare.py FOLDER [--images 64] [--passes 15]

FOLDER/train/ has three grey PNG files an image, <Id>_{red,green,blue}.png, which are drawn where they are missing: smooth shapes
under noise, about as compressible as micrographs. Samples are decoded arrays [3, 512, 512] as they are, with Streaming also
each compressed by zstd at level 1. The same images packed by Fivefold:

    IMAGES=FOLDER cargo bench -p fivefold-bench --bench pack -- read_packed

Run both under `taskset -c 0`. Requires requirements.txt beside this file.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

# One thread, and nothing in the background.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["DO_NOT_TRACK"] = os.environ["DISABLE_OPTIMIZED_MESSAGES"] = "1"

import cv2
import numpy as np

SIDE = 512
COLOURS = ("red", "green", "blue")


def draw(folder, count):
    """Writes the images that are missing."""
    (folder / "train").mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    shape = 60 + 50 * np.sin(x / 40) * np.cos(y / 55)
    for image in range(count):
        for plane, colour in enumerate(COLOURS):
            path = folder / "train" / f"i{image:03}_{colour}.png"
            if not path.exists():
                noise = np.random.default_rng(3 * image + plane).normal(0, 4, shape.shape)
                assert cv2.imwrite(str(path), (shape + noise).clip(0, 255).astype(np.uint8))


def read_png(folder, name):
    """An image [3, 512, 512] from its three files."""
    paths = [str(folder / "train" / f"{name}_{colour}.png") for colour in COLOURS]
    return np.stack([cv2.imread(path, cv2.IMREAD_GRAYSCALE) for path in paths])


def streaming(images, folder, is_compressed):
    """A function that loads sample n with MosaicML Streaming."""
    import zstd
    from streaming import MDSWriter, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    # Each sample by itself: files that the writer compresses are decompressed once, to arrays.
    column = "bytes" if is_compressed else f"ndarray:uint8:3,{SIDE},{SIDE}"
    with MDSWriter(out=str(folder), columns={"image": column}, size_limit="256mb") as writer:
        for image in images:
            writer.write({"image": zstd.compress(image.tobytes(), 1) if is_compressed else image})
    dataset = StreamingDataset(local=str(folder), shuffle=False, batch_size=1)
    if is_compressed:
        return lambda place: np.frombuffer(zstd.decompress(dataset[place]["image"]), np.uint8)
    return lambda place: dataset[place]["image"]


def litdata(images, folder):
    """A function that loads sample n with LitData."""
    from litdata import StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir()
    writer = BinaryWriter(str(folder), chunk_bytes="256MB")
    for place, image in enumerate(images):
        writer[place] = {"image": image}
    writer.done()
    writer.merge()
    dataset = StreamingDataset(str(folder), shuffle=False)
    return lambda place: dataset[place]["image"]


def disk_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(name, load, images, passes, stored_bytes):
    for place, image in enumerate(images):
        assert np.array_equal(np.asarray(load(place)).reshape(image.shape), image), f"{name}: image {place} differs"
    walls, processor = [], []
    for _ in range(passes):
        began, began_processor = time.perf_counter(), time.process_time()
        for place in range(len(images)):
            load(place)
        walls.append(time.perf_counter() - began)
        processor.append(time.process_time() - began_processor)
    rates = [len(images) / statistics.median(seconds) for seconds in (walls, processor)]
    smaller = sum(image.nbytes for image in images) / stored_bytes
    print(f"{name:34s} {rates[0]:7.0f} images/s, {rates[1]:7.0f} in processor time; {smaller:.2f} times smaller than decoded", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--passes", type=int, default=15)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    draw(arguments.folder, arguments.images)
    names = [f"i{image:03}" for image in range(arguments.images)]
    images = [read_png(arguments.folder, name) for name in names]
    work = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        load_png = lambda place: read_png(arguments.folder, names[place])
        measure("OpenCV, three grey PNG files", load_png, images, arguments.passes, disk_bytes(arguments.folder / "train"))
        for name, is_compressed in [("arrays", False), ("arrays under zstd", True)]:
            folder = work / f"streaming-{is_compressed}"
            load = streaming(images, folder, is_compressed)
            measure(f"MosaicML Streaming, {name}", load, images, arguments.passes, disk_bytes(folder))
        load = litdata(images, work / "litdata")
        measure("LitData, arrays", load, images, arguments.passes, disk_bytes(work / "litdata"))
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
