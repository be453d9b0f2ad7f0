"""Image files as they are seen: upright, scaled by their depth, on white; or refused by name."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from deeplab.core.errors import UserError
from deeplab.data.prepare import images
from deeplab.data.sets.image.masks import decode_mask

ORIENTATION = 274  # tag of EXIF
# What a viewer does to a stored array for each orientation; https://exiftool.org/TagNames/EXIF.html.
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, 1),
}
PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
DEEP = np.array([[0, 257, 257 * 100], [257 * 200, 65535, 128]], np.uint16)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", turned: int = 1, **how) -> bytes:
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    exif = Image.Exif()
    exif[ORIENTATION] = turned
    out = io.BytesIO()
    image.save(out, kind, **({"exif": exif} if turned != 1 else {}), **how)
    return out.getvalue()


def loaded(folder, content: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    (folder / "mine.png").write_bytes(content)  # whatever it holds: the name says nothing
    return images.load(folder / "mine.png", shape)


@pytest.mark.parametrize("turned", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_photos_are_upright(tmp_path, kind, turned):
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    expected = TURNS[turned](PICTURE).astype(int)
    given = loaded(tmp_path, encoded(PICTURE, kind, turned, **lossless), expected.shape)
    np.testing.assert_allclose(given, expected, atol=12 if kind == "JPEG" else 0)


@pytest.mark.parametrize("turned", TURNS)
def test_masks_turn_with_their_photos_and_keep_their_numbers(turned):
    classes = np.arange(15, dtype=np.uint8).reshape(3, 5)
    palette = Image.frombytes("P", (5, 3), classes.tobytes())
    palette.putpalette([5 * i for i in range(45)])
    for image in (palette, Image.fromarray(classes)):
        given = decode_mask(encoded(image, "PNG", turned), dict(zip(range(15), range(15), strict=True)), "a.png")
        np.testing.assert_array_equal(given, TURNS[turned](classes))


def test_masks_of_one_bit():
    mask = np.array([[True, False], [False, False]])
    assert decode_mask(encoded(mask), {0: 0, 1: 1}, "a.png").tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("values", [np.zeros((2, 2), np.float32), PICTURE])
def test_masks_have_one_integer_a_pixel(values):
    with pytest.raises(UserError, match=r"a.tif is a mask of \w+\[[\d, ]+\], expected one integer per pixel"):
        decode_mask(encoded(values, "TIFF"), {0: 0}, "a.tif")


def tiff12() -> bytes:
    """Two pixels of 12 bits, 0xFFF and 0x800, in three bytes."""
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    entries = b"".join(np.array([tag, 3, 1, 0, value, 0], "<u2").tobytes() for tag, value in tags)
    return (
        b"II*\0" + (12).to_bytes(4, "little") + b"\xff\xf8\x00\0" + len(tags).to_bytes(2, "little") + entries + bytes(4)
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(DEEP), [[0, 1, 100], [200, 255, 0]]),
        (encoded(DEEP, "TIFF"), [[0, 1, 100], [200, 255, 0]]),
        (encoded(DEEP, "TIFF", tiffinfo={262: 0}), [[255, 254, 155], [55, 0, 255]]),  # 0 is white
        (encoded(DEEP, "PPM"), [[0, 1, 100], [200, 255, 0]]),
        (encoded(DEEP, transparency=257), [[0, 255, 100], [200, 255, 0]]),
        (tiff12(), [[255, 128]]),
        (encoded(np.array([[0, 0.5, 1]], np.float32), "TIFF"), [[0, 128, 255]]),
        (encoded(np.array([[True, False]])), [[255, 0]]),
        (encoded(Image.new("CMYK", (1, 1), (0, 0, 0, 0)), "TIFF"), [[255]]),
        (encoded(Image.new("LA", (1, 1), (10, 0))), [[255]]),
        (encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 51))), [[204]]),
    ],
    ids=[
        "16 bits", "TIFF", "TIFF, 0 is white", "PGM", "a clear gray", "12 bits", "floats", "1 bit", "CMYK", "clear",
        "a fifth of black",
    ],
)  # fmt: skip
def test_depths(tmp_path, content, expected):
    expected = np.array(expected)
    for channels in (1, 3):
        given = loaded(tmp_path, content, (*expected.shape, channels))
        np.testing.assert_array_equal(given, np.repeat(expected[..., None], channels, axis=2))


def test_a_black_stroke_on_transparency_is_seen(tmp_path):
    stroke = np.zeros((8, 8, 4), np.uint8)
    stroke[3:5, 1:7, 3] = 255
    given = loaded(tmp_path, encoded(stroke), (8, 8, 1))[..., 0]
    np.testing.assert_array_equal(given, np.where(stroke[..., 3], 0, 255))


def reference(content: bytes) -> np.ndarray:
    """The picture as Pillow turns it, composed over white by hand; [H, W, 3] in [0, 255]."""
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if turned.mode == "I;16":
        return np.repeat(np.asarray(turned)[..., None] / 257, 3, axis=2)
    color = np.asarray(turned.convert("RGBA"), float)
    alpha = color[..., 3:] / 255
    return color[..., :3] * alpha + 255 * (1 - alpha)


@st.composite
def pictures(draw) -> bytes:
    """An image file of any mode that PNG or TIFF stores, turned in any way."""
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    mode = draw(st.sampled_from(["1", "L", "LA", "P", "P clear", "RGB", "RGB clear", "RGBA", "I;16", "CMYK"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    bands = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}.get(mode.split()[0], 0)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 2**16, size, np.uint16))
    elif bands:
        data = rng.integers(0, 256, (*size, bands), np.uint8)
        image = Image.frombytes(mode.split()[0], size[::-1], data.tobytes())
    else:
        image = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).convert(mode[0])
    how = {"P clear": {"transparency": bytes(range(0, 256, 5))}, "RGB clear": {"transparency": (1, 2, 3)}}.get(mode, {})
    kind = "TIFF" if mode == "CMYK" or (not how and draw(st.booleans())) else "PNG"
    return encoded(image, kind, draw(st.integers(1, 8)), **how)


@settings(max_examples=250, deadline=None)
@given(content=pictures())
def test_pictures_are_what_pillow_and_arithmetic_make_of_them(tmp_path_factory, content):
    expected = reference(content)
    given_ = loaded(tmp_path_factory.getbasetemp(), content, expected.shape)
    np.testing.assert_allclose(given_, expected, atol=1)


def bomb() -> bytes:
    """A PNG that declares 20,000 x 20,000 pixels."""
    content = bytearray(encoded(Image.new("1", (1, 1))))
    content[16:24] = (20_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot identify"),
        (b"no image", "cannot identify"),
        (encoded(PICTURE)[:100], "."),
        (encoded(PICTURE, "JPEG")[:-60], "truncated"),
        (encoded(PICTURE, "BMP")[:-9], "truncated"),
        (encoded(PICTURE, "TIFF")[:-9], "."),
        (bomb(), "exceeds limit"),
        (encoded(np.array([[70_000]], np.int32), "TIFF"), "of unknown range; save it with 8 or 16 bits"),
        (encoded(np.array([[0, 300]], np.float32), "TIFF"), "from 0 to 300, not 0 to 1"),
        (encoded(np.array([[0, np.nan]], np.float32), "TIFF"), "not 0 to 1"),
    ],
)
def test_what_cannot_be_seen_is_refused_by_name(tmp_path, content, why):
    with pytest.raises(UserError, match=rf"mine\.png is not an image that can be read \(.*{why}.*repair or remove it"):
        loaded(tmp_path, content, (4, 4, 3))


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["PNG", "TIFF", "JPEG", "GIF", "BMP", "WEBP"]), data=st.data())
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damage_is_an_image_or_an_error_with_the_name(tmp_path_factory, kind, data):
    content = bytearray(encoded(PICTURE, kind, 6 if kind != "GIF" and kind != "BMP" else 1))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    said = "mine.png"
    try:
        loaded(tmp_path_factory.getbasetemp(), bytes(content), (4, 4, 3))
    except UserError as error:
        said = str(error)
    assert "mine.png" in said


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_the_first_of_several_frames_is_read_and_said(tmp_path, kind):
    frames = [Image.new("RGB", (4, 4), (255 * i, 0, 0)) for i in (0, 1)]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match=r"mine\.png holds several frames or pages; the first is read"):
        np.testing.assert_array_equal(loaded(tmp_path, content, (4, 4, 3)), 0)


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png cannot be read \(No such file"):
        images.load(tmp_path / "gone.png", (4, 4, 3))
