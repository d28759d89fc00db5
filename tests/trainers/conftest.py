"""Backbones that the tests of the trainers share; no test changes them."""

import pytest
import torch

from tests.trainers.tiny import TEXT_FAMILIES, save_tiny
from trainers.backbone import Backbone, load_backbone
from trainers.families import FAMILIES


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """A test of a few milliseconds gains nothing from threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Lazily(dict):
    """Makes an entry when it is first asked for."""

    def __init__(self, make) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: str):
        self[key] = self._make(key)
        return self[key]


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory) -> Lazily:
    """Folder of each family's tiny model."""
    root = tmp_path_factory.mktemp("tiny")
    return Lazily(lambda family: save_tiny(family, root / family))


@pytest.fixture(scope="session")
def tiny_backbones(tiny_folders) -> Lazily:
    """Each family's tiny backbone, for a task that goes with it."""
    return Lazily(lambda family: load_backbone(str(tiny_folders[family]), task=task_for(family)))


def task_for(family: str) -> str:
    images = FAMILIES[family].modality == "image"
    return "image-classification" if images else "text-classification"


@pytest.fixture(params=sorted(TEXT_FAMILIES))
def tiny(request, tiny_backbones) -> Backbone:
    """A tiny backbone of each family that reads text in turn."""
    return tiny_backbones[request.param]


@pytest.fixture(params=sorted(FAMILIES))
def tiny_any(request, tiny_backbones) -> Backbone:
    """A tiny backbone of each family in turn."""
    return tiny_backbones[request.param]


@pytest.fixture
def tiny_bert(tiny_backbones) -> Backbone:
    return tiny_backbones["bert"]


@pytest.fixture(scope="session")
def minilm() -> Backbone:
    return load_backbone("minilm")
