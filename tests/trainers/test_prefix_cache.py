"""Training with the frozen-prefix cache gives what training without it gives."""

import sys
from pathlib import Path

import pytest
import torch

from space.adapter import Adapter, TokenSkip
from space.kinds import KINDS, kinds_for
from space.search_space import Learning
from space.side import Side
from space.spec import AdapterSpec
from tests.trainers.test_fit import N_ROWS, TASK, go_on, ignore, separable
from trainers.backbone import load_backbone
from trainers.cache import PrefixStore, RecalledTable, Recaller
from trainers.cache import prefix as prefix_module
from trainers.data import StudyDataModule, encode
from trainers.data.pixels import ImageTable
from trainers.engine import FLOAT32, Engine, prepared
from trainers.fit import fit
from trainers.model import build

CPU = torch.device("cpu")
LABELS = ("fruit", "tool")
BFLOAT16 = Engine(precision="bfloat16", attention="eager")
BATCH_SIZE = 8
STEPS_OF_EPOCH = 10
LEARNING = Learning(learning_rate=1e-3, head_learning_rate=1e-3)


@pytest.fixture(scope="module")
def backbone(tiny_backbones):
    return tiny_backbones["bert"]


@pytest.fixture
def told():
    return []


@pytest.fixture
def store(tmp_path, told):
    return PrefixStore(tmp_path / "prefix", 2**30, told.append)


def tables(backbone):
    train = encode(separable(BATCH_SIZE * STEPS_OF_EPOCH, 0), TASK, backbone, 16)
    return train, encode(separable(64, 1), TASK, backbone, 16)


def recaller(backbone, store, engine=FLOAT32):
    return Recaller(backbone=backbone, engine=engine, store=store)


def trained(backbone, spec, store=None, engine=FLOAT32):
    """Return a structure after 20 steps, with the cache or without."""
    own = prepared(backbone, engine)
    train, validation = tables(backbone)
    if store is not None:
        recall = recaller(own, store, engine)
        train = recall.recall(train, spec.boundaries, CPU)
        validation = recall.recall(validation, spec.boundaries, CPU)
        assert isinstance(train, RecalledTable) and isinstance(validation, RecalledTable)
    data = StudyDataModule(
        train=train, validation=validation, batch_size=BATCH_SIZE, validation_factor=4, seed=0
    )
    model = build(own, spec, 2, seed=0)
    result = fit(
        model,
        data,
        TASK,
        LEARNING,
        labels=LABELS,
        scale=None,
        epochs=2,
        report=go_on,
        tick=ignore,
        engine=engine,
    )
    return model.trained_state(), result


def structures(backbone):
    """One structure for each role and kind, with two blocks below it; and those of their own."""
    for role in backbone.shape.roles:
        for kind in kinds_for(role, tuple(KINDS)):
            fields = {"rank": 4} if KINDS[kind].ranked else {}
            if KINDS[kind].scaled:
                fields["alpha"] = 8.0
            adapters = tuple(Adapter(layer=i, role=role, kind=kind, **fields) for i in (2, 3))
            yield f"{kind}-{role}", AdapterSpec(depth=4, adapters=adapters)
            if KINDS[kind].sparse:
                fields |= {"experts": 4, "top_k": 2, "router": "token"}
                adapters = (Adapter(layer=2, role=role, kind=kind, **fields),)
                yield f"{kind}-{role}-experts", AdapterSpec(depth=3, adapters=adapters)
    lora = Adapter(layer=3, role="query", kind="lora", rank=4, alpha=8.0)
    yield "exits", AdapterSpec(depth=4, adapters=(lora,), exits=(1, 2))
    yield "skips", AdapterSpec(depth=4, skips=(TokenSkip(layer=2, token_keep=0.5, rank=4),))
    yield "head", AdapterSpec(depth=4)
    yield "side", AdapterSpec(depth=4, side=Side(width=16, boundaries=(1, 2, 4)))


def pytest_generate_tests(metafunc):
    if "structure" in metafunc.fixturenames:
        metafunc.parametrize("structure", STRUCTURES)


STRUCTURES = [
    "lora-query",
    "lora-key",
    "lora-value",
    "lora-attention_output",
    "lora-ffn_up",
    "lora-ffn_down",
    "lora-query-experts",
    "bottleneck-attention",
    "bottleneck-ffn",
    "bottleneck-ffn-experts",
    "parallel-attention",
    "parallel-ffn",
    "parallel-ffn-experts",
    "ia3-key",
    "ia3-value",
    "ia3-ffn_down",
    "prefix-attention",
    "exits",
    "skips",
    "head",
    "side",
]


def test_every_role_and_kind_is_among_the_structures(backbone):
    names = {name for name, _ in structures(backbone)}
    assert set(STRUCTURES) <= names
    roles = {name.split("-")[1] for name in STRUCTURES if "-" in name}
    assert roles == set(backbone.shape.roles)


def test_20_steps_give_the_same_with_and_without(backbone, store, structure):
    spec = dict(structures(backbone))[structure]
    plain, without = trained(backbone, spec)
    cached, result = trained(backbone, spec, store)
    for name, tensor in plain.items():
        assert torch.allclose(cached[name], tensor, atol=1e-5, rtol=1e-5), name
    assert result.metrics["accuracy"] == without.metrics["accuracy"]
    loss = without.metrics["validation_loss"]
    assert result.metrics["validation_loss"] == pytest.approx(loss, abs=1e-5)


def test_20_steps_in_bfloat16_agree_within_its_noise(backbone, store, structure):
    spec = dict(structures(backbone))[structure]
    _, without = trained(backbone, spec, engine=BFLOAT16)
    cached, result = trained(backbone, spec, store, BFLOAT16)
    loss = without.metrics["validation_loss"]
    assert result.metrics["validation_loss"] == pytest.approx(loss, abs=0.02)
    assert {tensor.dtype for tensor in cached.values()} == {torch.float32}
    kept = list(store.folder.rglob("*.states"))
    assert kept and all(path.stat().st_size % (2 * backbone.shape.width) == 0 for path in kept)


def test_a_second_trial_computes_nothing(backbone, store, monkeypatch):
    spec = AdapterSpec(depth=3)
    trained(backbone, spec, store)

    def compute(*_args):
        raise AssertionError("it is in the cache")

    monkeypatch.setattr(prefix_module._Prefix, "_compute", compute)
    trained(backbone, spec, store)


def test_a_higher_boundary_is_computed_from_a_lower_one(backbone, store, monkeypatch):
    trained(backbone, AdapterSpec(depth=2), store)
    ran = []
    blocks = backbone.model.get_submodule(backbone.family.blocks)
    hooks = [
        b.register_forward_pre_hook(lambda _m, args, i=i: ran.append((i, args[0].shape[0])))
        for i, b in enumerate(blocks)
    ]
    train, _ = tables(backbone)
    found = recaller(backbone, store).recall(train, (4,), CPU)
    for hook in hooks:
        hook.remove()
    assert list(found.boundaries) == [4]
    assert {i for i, n_rows in ran if n_rows > 1} == {2, 3}


def test_no_padding_is_stored(backbone, store):
    train, _ = tables(backbone)
    recaller(backbone, store).recall(train, (1,), CPU)
    (path,) = store.folder.rglob("*.states")
    assert path.stat().st_size == train.lengths.sum() * backbone.shape.width * 4


def test_without_room_the_nearest_lower_boundary_is_given(backbone, store, told, monkeypatch):
    train, _ = tables(backbone)
    recaller(backbone, store).recall(train, (1,), CPU)
    store.max_bytes = sum(p.stat().st_size for p in store.folder.rglob("*.states"))
    found = recaller(backbone, store).recall(train, (3,), CPU)
    assert list(found.boundaries) == [1]
    assert "no room for boundary 3" in told[0]
    spec = AdapterSpec(
        depth=4, adapters=(Adapter(layer=3, role="query", kind="lora", rank=2, alpha=4.0),)
    )
    batch = found.collate(range(8))
    model = build(backbone, spec, 2, seed=0)
    with torch.no_grad():
        answer = model(boundaries=batch.boundaries, **batch.inputs)
        assert torch.allclose(answer, model(**batch.inputs), atol=1e-5)


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_lost(backbone, tmp_path, told):
    (tmp_path / "file").write_text("")
    store = PrefixStore(tmp_path / "file", 2**30, told.append)
    train, _ = tables(backbone)
    assert recaller(backbone, store).recall(train, (2,), CPU) is train
    assert len(told) == 1 and "cannot be written" in told[0]


@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_a_corrupt_file_is_computed_anew_and_the_results_are_right(backbone, store, told, harm):
    spec = AdapterSpec(depth=3)
    plain, _ = trained(backbone, spec, store)
    for path in store.folder.rglob("*.states"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 64
        path.write_bytes(content if harm == "flip" else content[:-4])
    again, _ = trained(backbone, spec, store)
    assert len(told) == 2 and all("computed anew" in line for line in told)
    assert all(torch.equal(again[name], tensor) for name, tensor in plain.items())


def test_other_rows_tokens_precision_and_backbone_have_files_of_their_own(
    backbone, store, tiny_folders
):
    train, validation = tables(backbone)
    short = encode(separable(BATCH_SIZE * STEPS_OF_EPOCH, 0), TASK, backbone, 4)
    other = load_backbone(str(tiny_folders["electra"]))
    asked = [
        (backbone, FLOAT32, train),
        (backbone, FLOAT32, validation),
        (backbone, FLOAT32, short),
        (backbone, BFLOAT16, train),
        (other, FLOAT32, train),
    ]
    for n_asked, (own, engine, table) in enumerate(asked, start=1):
        recaller(prepared(own, engine), store, engine).recall(table, (1,), CPU)
        assert len(list(store.folder.rglob("*.states"))) == n_asked
    recaller(backbone, store).recall(tables(backbone)[0], (1,), CPU)
    assert len(list(store.folder.rglob("*.states"))) == len(asked)


def test_labels_do_not_count(backbone, store):
    rows = separable(N_ROWS, 0)
    for labels in (rows.labels, 1 - rows.labels):
        rows = type(rows)(inputs=rows.inputs, labels=labels)
        recaller(backbone, store).recall(encode(rows, TASK, backbone, 16), (1,), CPU)
    assert len(list(store.folder.rglob("*.states"))) == 1


def test_images_are_recalled_too(tiny_backbones, store):
    vit = tiny_backbones["vit"]
    size = (6, vit.image.n_channels, *vit.image.size)
    pixels = torch.randint(0, 255, size, generator=torch.Generator().manual_seed(0))
    table = ImageTable(
        pixels=pixels.to(torch.uint8).numpy(),
        labels=torch.zeros(6, dtype=torch.long).numpy(),
        image=vit.image,
    )
    found = recaller(vit, store).recall(table, (1, 2), CPU)
    batch = found.collate(torch.arange(4).numpy())
    model = build(vit, AdapterSpec(depth=2), 2, seed=0)
    with torch.no_grad():
        answer = model(boundaries=batch.boundaries, **batch.inputs)
        assert torch.allclose(answer, model(**batch.inputs), atol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="maps of a process are read from /proc")
def test_no_file_stays_mapped_after_a_training(backbone, store):
    trained(backbone, AdapterSpec(depth=3), store)
    assert str(store.folder) not in Path("/proc/self/maps").read_text()
