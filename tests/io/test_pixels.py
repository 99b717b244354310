"""PNG and TIFF: what their pixels are, and damage that Pillow does not see."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from calibeval.errors import BrokenFileError, InputError
from calibeval.io.arrays import open_array

LABELS = (np.arange(20 * 24).reshape(20, 24) % 3).astype(np.uint8)


def palette(array):
    image = Image.new("P", array.shape[::-1])
    image.putdata(array.ravel().tolist())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    return image


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("bits", [2, 8])
def test_of_a_palette_the_indices_are_the_values(ending, bits, tmp_path):
    palette(LABELS).save(tmp_path / f"a.{ending}", **({"bits": bits} if ending == "png" else {}))
    file = open_array(tmp_path / f"a.{ending}")
    assert (file.shape, file.dtype.name, file.vector) == ((20, 24), "uint8", False)
    np.testing.assert_array_equal(file.load(), LABELS)


def test_one_bit_is_a_mask_of_truth_values(tmp_path):
    Image.fromarray(LABELS > 0).save(tmp_path / "a.png")
    file = open_array(tmp_path / "a.png")
    assert file.dtype == np.bool_
    np.testing.assert_array_equal(file.load(), LABELS > 0)


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("RGBA", 4), ("LA", 2)])
def test_colours_are_channels_behind_the_plane(mode, channels, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (20, 24, channels)).astype(np.uint8)
    Image.fromarray(array, mode).save(tmp_path / "a.png")
    file = open_array(tmp_path / "a.png")
    assert (file.shape, file.vector) == ((20, 24, channels), True)
    np.testing.assert_array_equal(file.load(), array)


def test_colours_of_16_bits_would_lose_half_of_them(tmp_path):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.zeros((4, 5, 3), np.uint16), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.png"))
    with pytest.raises(InputError, match="holds colours of 16 bits"):
        open_array(tmp_path / "a.png")


def test_no_damage_to_the_pixels_of_a_png_passes_for_data(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(LABELS).save(path)
    whole = path.read_bytes()
    start = whole.index(b"IDAT")
    for place in range(start, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(BrokenFileError):
            open_array(path).load()


def test_pages_of_a_tiff_are_slices_and_must_be_alike(tmp_path):
    pages = [Image.fromarray(LABELS + n) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    file = open_array(tmp_path / "a.tif")
    np.testing.assert_array_equal(file.load(), np.stack([LABELS, LABELS + 1, LABELS + 2]))
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[Image.fromarray(LABELS[:5])])
    with pytest.raises(InputError, match="its page 2 is unlike the first"):
        open_array(tmp_path / "b.tif").load()


def entry(content, tag):
    """Where the last page of a little-endian TIFF says something: its tag, type, number of values and value."""
    pages, count = [int.from_bytes(content[4:8], "little")], 0
    while pages[-1]:
        count = int.from_bytes(content[pages[-1] : pages[-1] + 2], "little")
        pages.append(int.from_bytes(content[pages[-1] + 2 + 12 * count :][:4], "little"))
    places = range(pages[-2] + 2, pages[-2] + 2 + 12 * count, 12)
    return next(place for place in places if int.from_bytes(content[place : place + 2], "little") == tag)


@pytest.mark.parametrize(
    ("tag", "pages", "message"),
    [
        (259, 2, "page 2 is unlike the first"),  # compression: Pillow took the bytes as they are, and those behind them
        (277, 2, "page 2 is unlike the first"),  # samples a pixel: Pillow gave the pixels of the page before
        (279, 1, "a page lacks entries"),
        (262, 1, "a page lacks entries"),  # the meaning of 0: Pillow turned black and white
    ],
)
def test_a_tiff_that_lost_an_entry_is_not_read_by_guessing(tag, pages, message, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([LABELS] * 2)[:pages]), str(tmp_path / "a.tif"), True)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[entry(content, tag) + 2] = 99  # no type that there is
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_array(tmp_path / "a.tif").load()


def test_a_page_that_cannot_be_read_is_not_the_first_once_more(tmp_path):
    """So Pillow has it where libtiff refuses an entry, here one that says how channels lie."""
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([LABELS, 2 - LABELS])), str(tmp_path / "a.tif"), True)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[entry(content, 284) + 8] = 77
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(BrokenFileError, match="its page 2 cannot be read"):
        open_array(tmp_path / "a.tif").load()


def test_a_tiff_does_not_read_on_behind_its_pixels(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[entry(content, 279) + 8 : entry(content, 279) + 12] = (479).to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(BrokenFileError, match="a page has 479 bytes, expected 480"):
        open_array(tmp_path / "a.tif").load()
