"""Makes train/tests/fixtures/images.json and the image files in images/ beside it: PNG and JPEG files as OpenCV decodes them.

    python tests/golden/images.py [--out FOLDER]

Requires requirements.txt beside this file. Pillow writes the PNG files that OpenCV cannot write (palette, few bits, transparency);
OpenCV decodes all files. For pixels that must be equal the fixture has a digest, otherwise a tolerance and the pixels in hex.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

FIXTURES = Path(__file__).parents[2] / "train/tests/fixtures"
COLOURS = ["red", "green", "blue"]
JPEG_TOLERANCE = 2
# Decoders differ in the interpolation of subsampled chroma, most of all at the edges of an image that ends inside a block: a few
# pixels (here one in 50) may differ by this much.
SUBSAMPLED_TOLERANCE = 8
# Area averages are sums of floats, and the order of the sums differs.
AREA_TOLERANCE = 1


def fnv1a(data):
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = ((digest ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
    return f"{digest:016x}"


def cells(generator, height, width):
    """A synthetic micrograph, [height, width, 3], 0 to 1: in each plane different blobs on a dark ground with a little noise."""
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for _ in COLOURS:
        plane = np.zeros((height, width))
        for _ in range(6):
            middle_y, middle_x = generator.uniform(0, height), generator.uniform(0, width)
            radius = generator.uniform(0.05, 0.2) * min(height, width)
            distance = ((y - middle_y) ** 2 + (x - middle_x) ** 2) / radius**2
            plane += generator.uniform(0.3, 0.9) * np.exp(-distance)
        planes.append(plane + generator.normal(0, 0.02, plane.shape))
    return np.stack(planes, -1).clip(0, 1)


def eight_bits(image):
    return np.round(image * 255).astype(np.uint8)


def sixteen_bits(image):
    return np.round(image * 65535).astype(np.uint16)


def bgr(image):
    return image[..., ::-1]


def write_files(folder):
    """Writes the image files."""
    generator = np.random.default_rng(11)

    def image(height=24, width=24):
        return cells(generator, height, width)

    def opencv(name, pixels, *flags):
        assert cv2.imwrite(str(folder / name), pixels, flags)

    def pillow(name, picture, **options):
        picture.save(folder / name, **options)

    opencv("grey8.png", eight_bits(image())[..., 0])
    opencv("grey16.png", sixteen_bits(image())[..., 0])
    opencv("rgb8.png", bgr(eight_bits(image())))
    opencv("rgb16.png", bgr(sixteen_bits(image())))
    opencv("rgba8.png", np.dstack([bgr(eight_bits(image())), eight_bits(image())[..., 0]]))
    opencv("rgba16.png", np.dstack([bgr(sixteen_bits(image())), sixteen_bits(image())[..., 0]]))
    pillow("palette.png", Image.fromarray(eight_bits(image())).quantize(64))
    pillow("palette_transparent.png", Image.fromarray(eight_bits(image())).quantize(16), transparency=3)
    pillow("grey1.png", Image.fromarray(eight_bits(image())[..., 0]).convert("1"))
    pillow("grey_alpha.png", Image.fromarray(eight_bits(image())[..., :2], "LA"))
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]

    def sampling(factor):
        return [*quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]

    opencv("grey.jpg", eight_bits(image())[..., 0], *quality)
    opencv("rgb_444.jpg", bgr(eight_bits(image())), *sampling(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444))
    opencv("rgb_422.jpg", bgr(eight_bits(image(32, 32))), *sampling(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422))
    opencv("rgb_420.jpg", bgr(eight_bits(image(32, 32))), *sampling(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420))
    opencv("partial_420.jpg", bgr(eight_bits(image())), *sampling(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420))
    opencv("odd_420.jpg", bgr(eight_bits(image(29, 29))), *sampling(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420))
    # As in the HPA's images: one colour, the other planes dark.
    green = image(64, 64) * [0, 1, 0]
    opencv("hpa_420.jpg", bgr(eight_bits(green)), *sampling(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420))
    opencv("wide_444.jpg", bgr(eight_bits(image(50, 77))), *sampling(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444))
    opencv("large_grey.png", eight_bits(image(72, 72))[..., 0])
    opencv("large_rgb.png", bgr(eight_bits(image(61, 83))))


# Files that are read at another size than their own, and that size.
SHRUNK = {"hpa_420.jpg": 16, "wide_444.jpg": 24, "large_grey.png": 24, "large_rgb.png": 24}
SUBSAMPLED = ["rgb_422.jpg", "rgb_420.jpg", "partial_420.jpg", "odd_420.jpg"]


def planes_of(path):
    """The three planes of the file as OpenCV decodes it, [side, side] each."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_BGR)
    size = SHRUNK.get(path.name)
    for colour, channel in zip(COLOURS, (2, 1, 0)):
        plane = pixels[..., channel]
        if size:
            plane = cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA)
        yield colour, plane


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FIXTURES)
    out = parser.parse_args().out
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    write_files(folder)
    cases = []
    for path in sorted(folder.iterdir()):
        tolerance = JPEG_TOLERANCE if path.suffix == ".jpg" else AREA_TOLERANCE if path.name in SHRUNK else 0
        for colour, plane in planes_of(path):
            case = {"file": path.name, "colour": colour, "size": len(plane), "tolerance": tolerance}
            if path.name in SUBSAMPLED:
                case["outliers"] = SUBSAMPLED_TOLERANCE
            pixels = plane.tobytes()
            case |= {"pixels": pixels.hex()} if tolerance else {"fnv1a": fnv1a(pixels)}
            cases.append(case)
    lines = ",\n".join(json.dumps(case) for case in cases)
    (out / "images.json").write_text(f'{{"opencv": "{cv2.__version__}", "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
