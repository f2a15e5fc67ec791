"""Makes images/tests/fixtures/images.json and the image files in images/ beside it: PNG, JPEG, WebP and TIFF files as OpenCV
decodes and resizes them, and their luma as Pillow computes it.

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

FIXTURES = Path(__file__).parents[2] / "images/tests/fixtures"
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
    lzw = [cv2.IMWRITE_TIFF_COMPRESSION, cv2.IMWRITE_TIFF_COMPRESSION_LZW]
    opencv("grey8.tif", eight_bits(image())[..., 0], *lzw)
    opencv("grey16.tif", sixteen_bits(image())[..., 0], *lzw)
    opencv("rgb16.tif", bgr(sixteen_bits(image())), *lzw)
    pillow("rgb8.tif", Image.fromarray(eight_bits(image())), compression="tiff_adobe_deflate")
    pillow("rgb8_packed.tif", Image.fromarray(eight_bits(image())), compression="packbits")
    pillow("rgba8_plain.tif", Image.fromarray(np.dstack([eight_bits(image()), eight_bits(image())[..., 0]])))
    pillow("lossless.webp", Image.fromarray(eight_bits(image())), lossless=True, method=0)
    pillow("alpha.webp", Image.fromarray(eight_bits(np.dstack([image(), image()[..., :1]]))), lossless=True, exact=True, method=0)
    pillow("lossy.webp", Image.fromarray(eight_bits(image(32, 32))), quality=90, method=0)


# Files that are read at another size than their own, and that size.
SHRUNK = {"hpa_420.jpg": 16, "wide_444.jpg": 24, "large_grey.png": 24, "large_rgb.png": 24}
SUBSAMPLED = ["rgb_422.jpg", "rgb_420.jpg", "partial_420.jpg", "odd_420.jpg"]
# Files whose decoders may differ a little.
LOSSY = ["grey.jpg", "rgb_444.jpg", "hpa_420.jpg", "wide_444.jpg", "lossy.webp", *SUBSAMPLED]
# Files that are fitted alone.
OTHER_SHAPES = ["wide.png", "tall.png"]


# Interpolations and shapes: the file, the interpolation, the fit and the size. Sides of images that are fitted are rounded.
FITTED = [
    (name, scaling, fit, size)
    for name, size in [("large_rgb.png", 24), ("wide.png", 40), ("tall.png", 16)]
    for scaling in ("area", "bilinear")
    for fit in ("stretch", "crop", "pad")
] + [(name, "bilinear", fit, 50) for name in ("rgb8.png", "large_rgb.png", "tall.png") for fit in ("stretch", "crop", "pad")]


def fitted(plane, scaling, fit, size):
    """The plane as a square of `size` pixels."""
    interpolation = {"area": cv2.INTER_AREA, "bilinear": cv2.INTER_LINEAR}[scaling]
    height, width = plane.shape
    side = {"stretch": None, "crop": min(height, width), "pad": max(height, width)}[fit]

    def scaled(length):
        return max(1, (length * size + side // 2) // side) if side else size

    plane = cv2.resize(plane, (scaled(width), scaled(height)), interpolation=interpolation)
    square = np.zeros((size, size), np.uint8)
    height, width = plane.shape
    top, left = max(0, height - size) // 2, max(0, width - size) // 2
    plane = plane[top : top + size, left : left + size]
    top, left = (size - plane.shape[0]) // 2, (size - plane.shape[1]) // 2
    square[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return square


def planes_of(path):
    """The three planes of the file as OpenCV decodes it, [side, side] each."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_BGR)
    if path.name == "rgb16.tif":
        # With IMREAD_COLOR_BGR OpenCV rounds these 16 bits to 8, unlike those of other files.
        pixels = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) >> 8).astype(np.uint8)
    if path.name == "rgba8_plain.tif":
        # OpenCV multiplies the colours by their transparency.
        pixels = np.asarray(Image.open(path))[..., 2::-1]
    size = SHRUNK.get(path.name)
    for colour, channel in zip(COLOURS, (2, 1, 0)):
        plane = np.ascontiguousarray(pixels[..., channel])
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
    generator = np.random.default_rng(12)
    for name, height, width in [("wide.png", 50, 77), ("tall.png", 90, 17)]:
        assert cv2.imwrite(str(folder / name), bgr(eight_bits(cells(generator, height, width))))
    cases = []
    for path in sorted(folder.iterdir()):
        tolerance = JPEG_TOLERANCE if path.name in LOSSY else AREA_TOLERANCE if path.name in SHRUNK else 0
        if path.name in OTHER_SHAPES:
            continue
        for colour, plane in planes_of(path):
            case = {"file": path.name, "colour": colour, "size": len(plane), "tolerance": tolerance}
            if path.name in SUBSAMPLED:
                case["outliers"] = SUBSAMPLED_TOLERANCE
            pixels = plane.tobytes()
            case |= {"pixels": pixels.hex()} if tolerance else {"fnv1a": fnv1a(pixels)}
            cases.append(case)
    fits = []
    for name, scaling, fit, size in FITTED:
        green = cv2.imread(str(folder / name), cv2.IMREAD_COLOR_BGR)[..., 1]
        pixels = fitted(green, scaling, fit, size).tobytes().hex()
        fits.append({"file": name, "scaling": scaling, "fit": fit, "size": size, "pixels": pixels})
    lumas = []
    for name in ["rgb8.png", "rgba8_plain.tif", "lossless.webp", "grey8.tif"]:
        grey = Image.open(folder / name).convert("L")
        lumas.append({"file": name, "size": grey.width, "fnv1a": fnv1a(grey.tobytes())})

    def lines(entries):
        return ",\n".join(json.dumps(entry) for entry in entries)

    text = f'{{"opencv": "{cv2.__version__}", "cases": [\n{lines(cases)}\n], "fits": [\n{lines(fits)}\n], "lumas": [\n{lines(lumas)}\n]}}\n'
    (out / "images.json").write_text(text)


if __name__ == "__main__":
    main()
