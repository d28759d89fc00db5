"""Images of users: three places they come from, as the backbone reads them, every mistake told."""

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
            picture(colour, (6 + number, 4)).save(place / f"{number}.png")
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


UINT8 = numpy.zeros((4, 4, 6), numpy.uint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_labels, r"does not stand in a folder of its label"),
        (lambda tmp_path: tmp_path, r"holds no images"),
        (not_an_image, r"the image `blue/.\.png` cannot be read"),
        (cut_off, r"the image `blue/.\.png` cannot be read"),
        (missing_file, r"row 1, column `image`: there is no file"),
        (npz_of(pictures=UINT8), r"needs an array `images` of uint8 .* holds pictures uint8"),
        (npz_of(images=UINT8.astype(float), labels=[0] * 4), r"`images` of uint8"),
        (npz_of(images=UINT8), r"needs an array `labels` of the shape \(4,\), but has none"),
        (npz_of(images=UINT8, labels=[0]), r"but has one of the shape \(1,\)"),
        (npz_of(images=numpy.array([{}], dtype=object)), r"no \.npz file of plain arrays"),
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
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match=r"cannot be read|too large"):
        images(tmp_path)


@shared_data
def test_real_digits():
    folder = SHARED_DATA / "mnist10k"
    data = images(folder / "train.npz", validation=folder / "validation.npz", rows=200)
    assert data.labels == tuple("0123456789")
    assert len(data.train) == 200 and len(data.validation) == 1000
