"""Backbones that the tests of the trainers share; no test changes them."""

import pytest
import torch

from tests.trainers.tiny import save_tiny
from trainers.backbone import Backbone, load_backbone
from trainers.families import FAMILIES


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """A test of a few milliseconds gains nothing from threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory):
    """Folder of each family's tiny model."""
    root = tmp_path_factory.mktemp("tiny")
    return {family: save_tiny(family, root / family) for family in FAMILIES}


@pytest.fixture(scope="session")
def tiny_backbones(tiny_folders) -> dict[str, Backbone]:
    return {family: load_backbone(str(folder)) for family, folder in tiny_folders.items()}


@pytest.fixture(params=sorted(FAMILIES))
def tiny(request, tiny_backbones) -> Backbone:
    """A tiny backbone of each family in turn."""
    return tiny_backbones[request.param]


@pytest.fixture
def tiny_bert(tiny_backbones) -> Backbone:
    return tiny_backbones["bert"]


@pytest.fixture(scope="session")
def minilm() -> Backbone:
    return load_backbone("minilm")
