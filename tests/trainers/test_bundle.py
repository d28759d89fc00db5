"""The bundle: what is written is what is read, and nothing else is read."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import save_file

from space.errors import UserError
from space.spec import AdapterSpec
from tests.trainers.learnable import LESSONS, backbone_of, module_of
from tests.trainers.tiny import (
    adapter,
    everywhere,
    fill_randomly,
    random_batch,
    save_tiny,
    structure,
)
from tests.trainers.whole_bundle import write_whole
from trainers import bundle as bundle_module
from trainers import folder as folder_module
from trainers import weights
from trainers.backbone import load_backbone
from trainers.bundle import BundleConfig, load, n_outputs, read_config
from trainers.data import Columns
from trainers.model import build

LABELS = ("fruit", "tool", "größe")
FILES = ("config.yaml", "adapter.safetensors", "metrics.json", "README.md", "SHA256SUMS")


def config_for(backbone, spec, **changes):
    fields = {
        "task": "text-classification",
        "backbone": backbone.name,
        "backbone_fingerprint": backbone.fingerprint,
        "labels": LABELS,
        "columns": Columns(text="comment"),
        "scale": None,
        "max_length": 32,
        "spec": spec,
        "exit_threshold": None,
        "provenance": {"study": "s", "trial": 3, "seed": 0},
    }
    return BundleConfig(**{**fields, **changes})


@pytest.fixture
def model(tiny_bert):
    spec = everywhere(tiny_bert.shape, "parallel", 3, "attention")
    return fill_randomly(build(tiny_bert, spec, len(LABELS), seed=0), spread=0.05)


@pytest.fixture
def written(tmp_path, tiny_bert, model) -> Path:
    folder = tmp_path / "out" / "bundle"
    config = config_for(tiny_bert, model.spec)
    metrics = {"accuracy": 0.5, "exit_curve": [{"threshold": 0.9, "shares": [0.2, 0.8]}]}
    write_whole(folder, config, model.trained_state(), metrics, "# Card\n")
    return folder


def sign(folder: Path) -> None:
    """Make the checksums right again, as one who forges a bundle would."""
    names = [name for name in FILES if name != "SHA256SUMS"]
    sums = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(sums))


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**config, **changes}), encoding="utf-8")
    sign(folder)


def refused(folder: Path, match: str) -> None:
    with pytest.raises(UserError, match=match):
        load(folder)


def test_round_trip_answers_alike(written, model, tiny_bert):
    loaded = load(written)
    ids, mask = random_batch(5, 9)
    torch.testing.assert_close(loaded.model(ids, mask), model(ids, mask), rtol=0, atol=1e-6)
    assert loaded.config == config_for(tiny_bert, model.spec)
    assert loaded.backbone.fingerprint == tiny_bert.fingerprint
    assert not loaded.model.training


@pytest.mark.parametrize("name", LESSONS)
def test_the_model_of_every_task_comes_back(tmp_path, tiny_folders, name):
    lesson = LESSONS[name]
    backbone = backbone_of(lesson, tiny_folders)
    sequence = lesson.task.head == "sequence"
    exits = (1,) if lesson.labels and sequence else ()
    spec = AdapterSpec(
        depth=2,
        adapters=(adapter(0, "query", "lora"),),
        exits=exits,
        pooling="cls" if sequence else "none",
    )
    width = n_outputs(lesson.task, lesson.labels, backbone)
    model = fill_randomly(build(backbone, spec, width, seed=0, head=lesson.task.head))
    config = config_for(
        backbone,
        spec,
        task=lesson.task.name,
        labels=lesson.labels,
        columns=lesson.columns,
        scale=lesson.scale,
        exit_threshold=0.75 if exits else None,
    )
    write_whole(tmp_path / "bundle", config, model.trained_state(), {}, "")
    loaded = load(tmp_path / "bundle")
    assert loaded.config == config and loaded.config.what == lesson.task
    batch = next(iter(module_of(name, backbone).val_dataloader()))
    with torch.no_grad():
        own, right = loaded.model(**batch.inputs), model(**batch.inputs)
    torch.testing.assert_close(own, right)
    assert right.std() > 0


def test_holds_the_files_that_it_says(written):
    assert sorted(path.name for path in written.iterdir()) == sorted(FILES)
    assert json.loads((written / "metrics.json").read_text()) == {
        "accuracy": 0.5,
        "exit_curve": [{"threshold": 0.9, "shares": [0.2, 0.8]}],
    }
    assert (written / "README.md").read_text() == "# Card\n"
    assert "größe" in (written / "config.yaml").read_text(encoding="utf-8")
    assert [path.name for path in written.parent.iterdir()] == ["bundle"]


def test_checksums_are_those_that_sha256sum_reads(written):
    before = (written / "SHA256SUMS").read_text()
    sign(written)
    assert set((written / "SHA256SUMS").read_text().splitlines()) == set(before.splitlines())


def test_holds_only_what_was_trained(written, model):
    size = (written / "adapter.safetensors").stat().st_size
    trained = sum(tensor.nbytes for tensor in model.trained_state().values())
    assert trained < size < trained + 8192


def test_writing_into_an_empty_folder_is_allowed(tmp_path, tiny_bert, model):
    folder = tmp_path / "empty"
    folder.mkdir()
    write_whole(folder, config_for(tiny_bert, model.spec), model.trained_state(), {}, "")
    assert load(folder).config.labels == LABELS


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused(written, name):
    path = written / name
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    refused(written, "changed or damaged|has no line for")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(written, name):
    path = written / name
    path.write_bytes(path.read_bytes()[:-1] if name != "SHA256SUMS" else path.read_bytes()[:-20])
    refused(written, "changed or damaged|has no line for")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(written, name):
    (written / name).unlink()
    refused(written, f"{name}: is missing|it has no {name}")


def test_no_folder_is_refused(tmp_path):
    refused(tmp_path / "none", "there is no such bundle")


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    refused(tmp_path, "no bundle of paradapt")


@pytest.mark.parametrize("other", [1, 3])
def test_another_format_is_refused(written, other):
    rewrite(written, format=other)
    refused(written, rf"has the format {other}, but this version of paradapt reads 2")


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "", "format: one", "a: [b", "\x00"])
def test_what_is_no_config_is_refused(written, text):
    (written / "config.yaml").write_text(text)
    sign(written)
    refused(written, r"config\.yaml: not")


def test_a_config_that_is_not_utf8_is_refused(written):
    (written / "config.yaml").write_bytes(b"format: 1\ntask: \xff\xfe\n")
    sign(written)
    refused(written, r"config\.yaml: not YAML")


def test_a_python_tag_in_the_config_runs_nothing(written, tmp_path):
    trace = tmp_path / "ran"
    command = f"!!python/object/apply:os.mkdir ['{trace}']"
    path = written / "config.yaml"
    path.write_text(path.read_text(encoding="utf-8") + f"extra: {command}\n", encoding="utf-8")
    sign(written)
    refused(written, r"config\.yaml: not YAML")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", 3),
        ("backbone", "minilm"),
        ("labels", "fruit"),
        ("labels", {"fruit": 0}),
        ("columns", "comment"),
        ("columns", None),
        ("scale", 2.0),
        ("max_length", "128"),
        ("max_length", 12.5),
        ("max_length", True),
        ("exit_threshold", "sure"),
        ("exit_threshold", True),
        ("spec", []),
        ("provenance", "mine"),
    ],
)
def test_a_key_of_the_wrong_type_is_refused(written, key, value):
    rewrite(written, **{key: value})
    refused(written, f"config.yaml: `{key}` is missing or no ")


@pytest.mark.parametrize(
    "key", ["task", "labels", "columns", "scale", "max_length", "spec", "exit_threshold"]
)
def test_a_missing_key_is_refused(written, key):
    path = written / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    del config[key]
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    sign(written)
    refused(written, f"`{key}` is missing or no ")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"task": "text-clasification"}, "Did you mean `text-classification`"),
        ({"columns": {"texts": "a"}}, "no key 'texts'. Did you mean `text`"),
        ({"columns": {"text": None}}, r"`columns.text` is no name of a column: None"),
        ({"columns": {"text": 3}}, r"`columns.text` is no name of a column: 3"),
        ({"labels": []}, r"different names, one at least, for text-classification, but got \[\]"),
        ({"labels": ["a", "b", "a"]}, "different names"),
        ({"task": "causal-lm"}, "`labels` holds nothing for causal-lm"),
        ({"task": "text-regression", "labels": []}, "`scale` stands where numbers are learned"),
        ({"scale": {"mean": 1.0, "std": 2.0}}, "`scale` stands where numbers are learned"),
        ({"scale": {"mean": 1.0, "std": 0}}, "a std above 0"),
        ({"scale": {"mean": 1.0}}, "a std above 0"),
        ({"scale": {"mean": float("nan"), "std": 1.0}}, "a std above 0"),
        ({"task": "text-pair-classification"}, "`columns.text_pair` is needed"),
        ({"exit_threshold": 0.5}, "a number where the structure has exits"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(written, changes, match):
    rewrite(written, **changes)
    refused(written, match)


@pytest.mark.parametrize("backbone", [{}, {"name": "minilm"}, {"fingerprint": "00"}])
def test_a_backbone_without_name_or_fingerprint_is_refused(written, backbone):
    rewrite(written, backbone=backbone)
    refused(written, "config.yaml: .*(name|fingerprint)")


def test_a_spec_that_breaks_a_rule_is_refused(written):
    rewrite(written, spec={"depth": 0, "pooling": "mean", "adapters": []})
    refused(written, "depth is at least 1, but got 0")


def test_a_spec_deeper_than_the_backbone_is_refused(written):
    rewrite(written, spec={"depth": 9, "pooling": "mean", "adapters": []})
    refused(written, "runs 9 blocks, but the backbone .* has 4")


def test_labels_that_do_not_match_the_head_are_refused(written):
    rewrite(written, labels=["fruit", "tool"])
    refused(written, r"adapter.safetensors: .*head.* has the shape")


def test_weights_of_another_structure_are_refused(written, tiny_bert):
    other = build(tiny_bert, structure(1, (0,), {"key": "lora"}), len(LABELS), seed=0)
    save_file(dict(other.trained_state()), written / "adapter.safetensors")
    sign(written)
    refused(written, "do not belong to this structure")


def test_weights_that_are_no_safetensors_are_refused(written):
    (written / "adapter.safetensors").write_bytes(b"\x80\x04}." * 10)
    sign(written)
    refused(written, "no complete safetensors file")


def test_another_backbone_at_the_same_place_is_refused(tmp_path, model):
    place = save_tiny("bert", tmp_path / "backbone")
    backbone = load_backbone(str(place))
    folder = tmp_path / "bundle"
    write_whole(folder, config_for(backbone, model.spec), model.trained_state(), {}, "")
    assert load(folder).config.backbone == str(place)
    changed = load_backbone(str(place)).model
    with torch.no_grad():
        changed.embeddings.word_embeddings.weight[3, 3] += 0.5
    changed.save_pretrained(place)
    refused(folder, "trained on a backbone with the fingerprint")


def test_a_backbone_that_is_gone_is_refused(written):
    fingerprint = read_config(written).backbone_fingerprint
    rewrite(written, backbone={"name": "/gone/away", "fingerprint": fingerprint})
    refused(written, "there is no folder /gone/away")


class DiskFull(OSError):
    """As the system says it: no space left."""


@pytest.mark.parametrize("step", ["write_tensors", "_sha256"])
def test_a_failed_write_leaves_nothing(tmp_path, tiny_bert, model, monkeypatch, step):
    def fail(*args):
        raise DiskFull(28, "No space left on device")

    monkeypatch.setattr(folder_module if step == "_sha256" else bundle_module, step, fail)
    folder = tmp_path / "bundle"
    with pytest.raises(UserError, match=r"cannot be written .*No space left"):
        write_whole(folder, config_for(tiny_bert, model.spec), model.trained_state(), {}, "")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_while_weights_are_written_is_told(
    tmp_path, tiny_bert, model, monkeypatch
):
    def fail(state, path):
        Path(path).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(weights, "save_file", fail)
    with pytest.raises(UserError, match=r"cannot be written .*No space left"):
        write_whole(
            tmp_path / "b", config_for(tiny_bert, model.spec), model.trained_state(), {}, ""
        )
    assert list(tmp_path.iterdir()) == []


def test_any_other_fault_leaves_nothing_either(tmp_path, tiny_bert, model):
    strange = config_for(tiny_bert, model.spec, provenance={"seed": object()})
    with pytest.raises(yaml.YAMLError):
        write_whole(tmp_path / "bundle", strange, model.trained_state(), {}, "")
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_not_overwritten(tmp_path, tiny_bert, model):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "mine").write_text("keep")
    with pytest.raises(UserError, match="exists already; nothing is overwritten"):
        write_whole(folder, config_for(tiny_bert, model.spec), model.trained_state(), {}, "")
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_file_in_its_place_is_not_overwritten(tmp_path, tiny_bert, model):
    path = tmp_path / "bundle"
    path.write_text("keep")
    with pytest.raises(UserError, match="exists already"):
        write_whole(path, config_for(tiny_bert, model.spec), model.trained_state(), {}, "")
    assert path.read_text() == "keep"


def test_a_parent_that_is_a_file_is_told(tmp_path, tiny_bert, model):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_whole(
            tmp_path / "file" / "bundle",
            config_for(tiny_bert, model.spec),
            model.trained_state(),
            {},
            "",
        )
    assert (tmp_path / "file").read_text() == ""
