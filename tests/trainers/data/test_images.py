"""Images of users: three places they come from, as the backbone reads them, every mistake told."""

import io
from dataclasses import replace

import numpy
import pandas
import pytest
import torch
from PIL import Image

from space.errors import UserError
from tests.trainers.data.test_dataset import SHARED as SHARED_DATA
from tests.trainers.data.test_dataset import load, shared_data
from trainers.data import Columns, pixels_of, read_images
from trainers.data.pixels import image_table
from trainers.image_input import ImageInput
from trainers.tasks import TASKS

TASK = TASKS["image-classification"]
COLOURS = {"blue": (0, 0, 200), "red": (200, 0, 0)}
INPUT = ImageInput(size=(4, 6), n_channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), n_tokens=7)


def picture(colour, size=(6, 4)):
    return Image.new("RGB", size, colour)


@pytest.fixture
def folder(tmp_path):
    for name, colour in COLOURS.items():
        place = tmp_path / "images" / name
        place.mkdir(parents=True)
        for number in range(10):
            image = picture(colour, (6 + number, 4))
            image.putpixel((5 + number, 3), (20 * number, 255, 0))  # so that no two are alike
            image.save(place / f"{number}.png")
    return tmp_path / "images"


def images(train, **changes):
    return load(task=TASK, train=train, image=INPUT, **changes)


def first_colours(data):
    """Return each row's label with the colour of its first pixel."""
    side = data.train
    return {
        (data.labels[label], tuple(pixels[:, 0, 0].tolist()))
        for label, pixels in zip(side.labels, side.inputs["image"], strict=True)
    }


def test_a_folder_has_one_folder_a_label(folder):
    data = images(folder)
    assert data.labels == ("blue", "red")
    assert data.train.inputs["image"].shape == (16, 3, 4, 6)
    assert first_colours(data) == set(COLOURS.items())


def test_a_table_of_paths(folder):
    rows = [(f"{name}/{i}.png", name) for name in COLOURS for i in range(10)]
    path = folder / "table.csv"
    pandas.DataFrame(rows, columns=["file", "kind"]).to_csv(path, index=False)
    data = images(path, columns=Columns(image="file", label="kind"))
    assert data.fingerprint == images(folder).fingerprint


@pytest.mark.parametrize("channels", [False, True])
def test_an_npz_of_arrays(tmp_path, channels):
    pixels = numpy.repeat(numpy.arange(20, dtype=numpy.uint8), 24).reshape(20, 4, 6)
    path = tmp_path / "t.npz"
    numpy.savez(
        path, images=pixels[..., None].repeat(3, -1) if channels else pixels, labels=[7, 8] * 10
    )
    data = images(path)
    assert data.labels == ("7", "8")
    assert (data.train.inputs["image"][:, 0] == data.train.inputs["image"][:, 2]).all()


def test_pixels_are_scaled_as_the_backbone_wants(folder):
    data = images(folder)
    batch = image_table(data.train, INPUT).collate([0, 1])
    raw = torch.from_numpy(data.train.inputs["image"][:2]).float()
    for channel in range(3):
        expected = (raw[:, channel] / 255 - INPUT.mean[channel]) / INPUT.std[channel]
        torch.testing.assert_close(batch.inputs["pixel_values"][:, channel], expected)
    assert image_table(data.train, INPUT).lengths.tolist() == [7] * 16


def test_grey_and_transparent_images_become_what_the_backbone_reads(tmp_path):
    Image.new("L", (6, 4), 90).save(tmp_path / "grey.png")
    Image.new("RGBA", (6, 4), (1, 2, 3, 0)).save(tmp_path / "clear.png")
    frame = read_images(tmp_path, "image", None, "--input")
    pixels = pixels_of(frame, INPUT, "--input")
    assert frame["name"].tolist() == ["clear.png", "grey.png"]
    assert pixels[:, :, 0, 0].tolist() == [[1, 2, 3], [90, 90, 90]]


def no_labels(tmp_path):
    picture((1, 1, 1)).save(tmp_path / "a.png")
    return tmp_path


def not_an_image(tmp_path):
    for name in COLOURS:
        (tmp_path / name).mkdir()
        for letter in "abcdef":
            (tmp_path / name / f"{letter}.png").write_text("no image")
    return tmp_path


def cut_off(tmp_path):
    for name in COLOURS:
        (tmp_path / name).mkdir()
        for letter in "abcdef":
            path = tmp_path / name / f"{letter}.png"
            picture((1, 2, 3), (60, 60)).save(path)
            path.write_bytes(path.read_bytes()[:60])
    return tmp_path


def npz_of(**arrays):
    def make(tmp_path):
        numpy.savez(tmp_path / "t.npz", **arrays)
        return tmp_path / "t.npz"

    return make


def missing_file(tmp_path):
    (tmp_path / "t.csv").write_text("image,label\nnone.png,a\n")
    return tmp_path / "t.csv"


def too_long_a_name(tmp_path):
    (tmp_path / "t.csv").write_text(f"image,label\n{'x' * 999}.png,a\n")
    return tmp_path / "t.csv"


def a_folder_without_images(tmp_path):
    no_labels(make_folder(tmp_path / "red"))
    make_folder(tmp_path / "green").joinpath("1.heic").write_bytes(b"x")
    return tmp_path


def make_folder(path):
    path.mkdir()
    return path


def wide_pixels(mode, suffix):
    def make(tmp_path):
        for name in COLOURS:
            folder = make_folder(tmp_path / name)
            for number in range(6):
                Image.new(mode, (6, 4), 3).save(folder / f"{number}.{suffix}")
        return tmp_path

    return make


def npz_written(change):
    """Return what writes bytes, or changes those of a good file."""

    def make(tmp_path):
        path = npz_of(images=UINT8 + 7, labels=[0] * 4)(tmp_path)
        path.write_bytes(change(path.read_bytes()) if callable(change) else change)
        return path

    return make


def npy():
    file = io.BytesIO()
    numpy.save(file, numpy.zeros(3))
    return file.getvalue()


NPY = npy()
UINT8 = numpy.zeros((4, 4, 6), numpy.uint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_labels, r"does not stand in a folder of its label"),
        (lambda tmp_path: tmp_path, r"holds no images"),
        (not_an_image, r"the image `blue/.\.png` cannot be read"),
        (cut_off, r"the image `blue/.\.png` cannot be read"),
        (missing_file, r"row 1, column `image`: there is no file"),
        (npz_of(pictures=UINT8), r"needs an array `images` of uint8 .* holds neither"),
        (npz_of(images=UINT8.astype(float), labels=[0] * 4), r"`images` of uint8"),
        (npz_of(images=UINT8), r"needs an array `labels` .* the shape \(4,\), but has none"),
        (npz_of(images=UINT8, labels=[0]), r"but has one of int64 with the shape \(1,\)"),
        (npz_of(images=numpy.array([{}], dtype=object)), r"pickled objects are not read"),
        (npz_of(images=numpy.zeros((4, 3, 9, 9), numpy.uint8), labels=[0] * 4), r"up to 4 channel"),
        (npz_of(images=UINT8[:, :0], labels=[0] * 4), r"`images` of uint8 \(4, 0, 6\)"),
        (npz_of(images=UINT8[:0], labels=numpy.zeros(0, int)), r"has no rows"),
        (npz_of(images=UINT8, labels=[0.5] * 4), r"integers or texts .* one of float64"),
        (npz_of(images=UINT8, labels=[b"a"] * 4), r"integers or texts .* one of \|S1"),
        (npz_written(b"no archive"), r"no \.npz file of plain arrays \(pickled objects"),
        (npz_written(b""), r"t\.npz` is empty"),
        (npz_written(lambda whole: whole[:200]), r"no \.npz file of plain arrays"),
        (npz_written(lambda whole: whole.replace(b"\7" * 40, b"\5" * 40)), r"\(Bad CRC-32"),
        (npz_written(NPY), r"no \.npz file of plain arrays"),
        (too_long_a_name, r"row 1, column `image`: there is no file"),
        (a_folder_without_images, r"the folder `.*/green` holds no image .*, but `1\.heic`"),
        (lambda tmp_path: tmp_path / "none", r"no file `.*none`"),
        (wide_pixels("I", "tiff"), r"cannot be read \(its pixels are of mode I; save it"),
        (wide_pixels("F", "tiff"), r"cannot be read \(its pixels are of mode F; save it"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, make, message):
    with pytest.raises(UserError, match=message):
        images(make(tmp_path))


def test_a_huge_image_is_refused(tmp_path, monkeypatch):
    for name in COLOURS:
        (tmp_path / name).mkdir()
        for number in range(9):
            picture((1, 2, 3), (40, 40)).save(tmp_path / name / f"{number}.png")
    for limit in (1000, 100):  # Pillow warns of the one and refuses the other.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(UserError, match=r"data\.train: the image `blue/.\.png` is too large"):
            images(tmp_path)


def first_pixels(path, **changes):
    frame = pandas.DataFrame({"image": [path], "name": ["it"]})
    return pixels_of(frame, replace(INPUT, **changes), "w")[0]


def test_16_bits_a_channel_become_8(tmp_path):
    values = (numpy.arange(24, dtype=numpy.uint16) * 2570).reshape(4, 6)
    Image.fromarray(values).save(tmp_path / "t.png")
    pixels = first_pixels(tmp_path / "t.png")
    assert (pixels == numpy.arange(24).reshape(4, 6) * 10).all()


def test_an_image_is_turned_as_its_camera_says(tmp_path):
    upright = Image.new("RGB", (4, 6))
    upright.paste((250, 0, 0), (0, 0, 4, 3))  # red above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.rotate(90, expand=True).save(tmp_path / "t.png", exif=exif)
    pixels = first_pixels(tmp_path / "t.png", size=(6, 4))
    assert (pixels[0, :3] == 250).all() and (pixels[0, 3:] == 0).all()


@pytest.mark.parametrize("shape", [(4, 1), (4, 6, 1), (1, 1)])
def test_narrow_and_grey_arrays(shape):
    assert (first_pixels(numpy.full(shape, 9, numpy.uint8)) == 9).all()


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_channels_are_those_of_the_backbone(n_channels):
    pixels = first_pixels(numpy.full((4, 6), 9, numpy.uint8), n_channels=n_channels)
    assert pixels.shape == (n_channels, 4, 6) and (pixels[:3] == 9).all()
    with pytest.raises(UserError, match=r"reads images of 6 channels; only 1, 3, 4 are"):
        first_pixels(numpy.full((4, 6), 9, numpy.uint8), n_channels=6)


def test_hidden_files_are_passed_over_and_others_are_told(folder):
    for name in (".hidden/1.png", "red/.1.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("no image")
    assert images(folder).notices == ()
    (folder / "red" / "notes.md").write_text("x")
    data = images(folder)
    assert data.labels == ("blue", "red")
    (notice,) = data.notices
    assert notice.startswith("data.train: 1 file of no known kind of image")
    assert notice.endswith("not read: red/notes.md.")


def table_of(folder, name, rows):
    path = folder / name
    pandas.DataFrame(rows, columns=["image", "label"]).to_csv(path, index=False)
    return path


def test_rows_without_a_path_are_dropped(folder):
    rows = [(f"{name}/{i}.png", name) for name in COLOURS for i in range(10)]
    rows[3] = (" ", "blue")
    data = images(table_of(folder, "table.csv", rows))
    assert len(data.train) + len(data.validation) == 19
    assert data.notices == (
        "data.train: 1 row of 20 without an image or without a label dropped (row 4).",
    )


def test_a_broken_image_of_a_table_is_told_with_its_key_and_row(folder):
    (folder.parent / "bad.png").write_text("no image")
    rows = [("images/red/1.png", "red"), ("bad.png", "blue")]
    held_out = table_of(folder.parent, "v.csv", rows)
    with pytest.raises(UserError, match=r"data\.validation: the image `bad\.png, row 2` cannot be"):
        images(folder, validation=held_out)


def test_images_on_both_sides_are_told(tmp_path):
    pixels = numpy.arange(20, dtype=numpy.uint8).repeat(24).reshape(20, 4, 6)
    held_out = numpy.concatenate([pixels[:2], pixels[:3] + 90])
    for name, values in (("t", pixels), ("v", held_out)):
        numpy.savez(
            tmp_path / f"{name}.npz",
            images=values,
            labels=[0, 1] * 10 if name == "t" else [0, 1, 0, 1, 0],
        )
    data = images(tmp_path / "t.npz", validation=tmp_path / "v.npz")
    (notice,) = data.notices
    assert notice.startswith("data.validation: 2 rows of 5 in validation with an image that stands")
    assert "(row 1, 2)" in notice


def test_the_fingerprint_sees_every_pixel(tmp_path):
    pixels = numpy.random.default_rng(0).integers(0, 255, (20, 4, 6), dtype=numpy.uint8)
    found = []
    for change in (0, 0, 1):
        pixels[7, 2, 3] += change
        numpy.savez(tmp_path / "t.npz", images=pixels, labels=[0, 1] * 10)
        found.append(images(tmp_path / "t.npz").fingerprint)
    assert found[0] == found[1] != found[2]


@shared_data
def test_real_digits():
    folder = SHARED_DATA / "mnist10k"
    data = images(folder / "train.npz", validation=folder / "validation.npz", rows=200)
    assert data.labels == tuple("0123456789")
    assert len(data.train) == 200 and len(data.validation) == 1000
