"""The format `onnx`: ONNX Runtime gives the trained model's logits, and needs nothing of ours."""

import ast
import json
from dataclasses import replace

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from space.errors import UserError
from tests.trainers.export.graphs import MIXED, SPECS, assert_answers_as_trained, run_programs
from tests.trainers.export.sources import backbone_for, export, source_of
from tests.trainers.learnable import LESSONS
from tests.trainers.tiny import structure
from trainers.answers import answers_for
from trainers.export import graph
from trainers.export.format import Options
from trainers.export.graph import write_graph
from trainers.export.onnx import Onnx
from trainers.families import FAMILIES
from trainers.scoring import Scorer

FAMILIES_HERE = ("bert", "gpt2", "llama", "deberta-v2", "t5", "vit")
OTHER_FAMILIES = tuple(sorted(set(FAMILIES) - set(FAMILIES_HERE)))


def independent(path):
    """A session of ONNX Runtime that nothing of ours makes."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def answer(inputs):
        given = {name: tensor.numpy() for name, tensor in inputs.items()}
        return torch.from_numpy(session.run(None, given)[0])

    return answer


def assert_graph_answers(source, folder):
    write_graph(source, folder / "model.onnx")
    onnx.checker.check_model(folder / "model.onnx", full_check=True)
    assert_answers_as_trained(source, independent(folder / "model.onnx"))


def spec_for(lesson, spec):
    per_token = LESSONS[lesson].task.head != "sequence"
    if spec.pooling == "cls" and lesson == "number":
        return replace(spec, pooling="mean")
    return replace(spec, pooling="none") if per_token else spec


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_kind_of_part_is_in_the_graph(name, tiny_backbones, tmp_path):
    assert_graph_answers(source_of("class", tiny_backbones["bert"], SPECS[name]), tmp_path)


@pytest.mark.parametrize("lesson", ["number", "tags", "pair", "classes", "next", "image"])
@pytest.mark.parametrize("name", ["plain", "full"])
def test_every_task_is_in_the_graph(lesson, name, tiny_folders, tmp_path):
    spec = spec_for(lesson, SPECS[name])
    assert_graph_answers(source_of(lesson, backbone_for(lesson, tiny_folders), spec), tmp_path)


def lesson_of(family):
    return "image" if FAMILIES[family].modality == "image" else "class"


@pytest.mark.parametrize("family", FAMILIES_HERE)
def test_every_family_is_in_the_graph(family, tiny_backbones, tmp_path):
    spec = structure(3, (0, 2), MIXED, pooling="last" if FAMILIES[family].causal else "mean")
    source = source_of(lesson_of(family), tiny_backbones[family], spec)
    assert_graph_answers(source, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", OTHER_FAMILIES)
def test_every_other_family_is_in_the_graph(family, tiny_backbones, tmp_path):
    test_every_family_is_in_the_graph(family, tiny_backbones, tmp_path)


@pytest.mark.parametrize("family", ["llama", "dinov2"])
def test_skipped_tokens_stay_skipped_in_other_families(family, tiny_backbones, tmp_path):
    pooling = "cls" if family == "dinov2" else "last"
    spec = replace(SPECS["skips"], pooling=pooling)
    assert_graph_answers(source_of(lesson_of(family), tiny_backbones[family], spec), tmp_path)


@pytest.fixture(scope="module")
def exported(tiny_folders, tmp_path_factory):
    """A structure of every task exported, and what the program of its card made of it."""
    root = tmp_path_factory.mktemp("onnx")
    sources, proofs = {}, {}
    for lesson in LESSONS:
        spec = spec_for(lesson, SPECS["plain"])
        sources[lesson] = source_of(lesson, backbone_for(lesson, tiny_folders), spec)
        proofs[lesson] = export(Onnx(), sources[lesson], root / lesson)
    return root, sources, proofs, run_programs([root / lesson for lesson in LESSONS])


def test_the_program_of_every_card_answers_as_the_trained_model(exported):
    for lesson, own in exported[3].items():
        inputs = {name: torch.tensor(values) for name, values in own["inputs"].items()}
        with torch.no_grad():
            wanted = exported[1][lesson].bundle.model(**inputs)
        found = torch.tensor(own["logits"])
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_the_programs_read_and_name_as_predict_does(exported):
    said = {lesson: own["said"] for lesson, own in exported[3].items()}
    bundles = {lesson: source.bundle for lesson, source in exported[1].items()}
    texts = ["a first row", "a second row, which is longer"]
    for lesson in ("class", "classes"):
        wanted = answers_for(bundles[lesson], {"text": texts})
        for row, line in enumerate(said[lesson].splitlines()):
            for label, share in ast.literal_eval(line).items():
                assert share == pytest.approx(wanted[f"probability_{label}"][row], abs=2e-4)
    numbers = answers_for(bundles["number"], {"text": texts})["prediction"]
    assert ast.literal_eval(said["number"]) == pytest.approx(numbers, rel=1e-4)
    pairs = {"text": ["a first text", "another"], "text_pair": ["its second one", "and its second"]}
    shares = answers_for(bundles["pair"], pairs)["probability_tool"]
    lines = [ast.literal_eval(line) for line in said["pair"].splitlines()]
    assert [line["tool"] for line in lines] == pytest.approx(shares, abs=2e-4)
    words = [["a", "first", "row"], ["a", "second", "row", "of", "words"]]
    tags = answers_for(bundles["tags"], {"words": words})["prediction"]
    pieces = [line.split()[:2] for line in said["tags"].splitlines()]
    assert pieces == [
        [word, tag]
        for row, own in zip(words, tags, strict=True)
        for word, tag in zip(row, own, strict=True)
    ]
    assert len(ast.literal_eval(said["next"])) == 2
    assert set(ast.literal_eval(said["image"])) == {"dark", "light"}


def test_a_folder_holds_what_a_stranger_needs_and_no_more(exported):
    root, _, proofs, _ = exported
    common = {"model.onnx", "task.json", "requirements.txt", "README.md", "proof.json"}
    common |= {"SHA256SUMS"}
    assert {path.name for path in (root / "pair").iterdir()} == common | {"tokenizer.json"}
    assert {path.name for path in (root / "image").iterdir()} == common
    task = json.loads((root / "class" / "task.json").read_text(encoding="utf-8"))
    assert task["labels"] == ["fruit", "tool"]
    assert task["max_length"] == 24
    assert task["inputs"] == ["input_ids", "attention_mask"]
    needed = (root / "class" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line.partition("==")[0] for line in needed] == ["numpy", "tokenizers", "onnxruntime"]
    assert proofs["class"]["largest_difference"] < 1e-4
    assert proofs["class"]["served"]["ONNX Runtime"]["served"]
    assert proofs["class"]["speed"]["float32 torch"]["speedup"] == 1.0


def test_batch_and_length_are_open(exported):
    session = onnxruntime.InferenceSession(exported[0] / "pair" / "model.onnx")
    assert {i.name: i.shape for i in session.get_inputs()} == {
        name: ["batch", "tokens"] for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    assert session.get_outputs()[0].shape == ["batch", 2]
    session = onnxruntime.InferenceSession(exported[0] / "image" / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", 3, 12, 12]


def told(name, backbone, folder):
    proof = export(Onnx(), source_of("class", backbone, SPECS[name]), folder / name)
    return proof, " ".join((folder / name / "README.md").read_text(encoding="utf-8").split())


def test_what_is_not_saved_is_said(tiny_bert, tmp_path):
    proof, card = told("exits", tiny_bert, tmp_path)
    assert "Lost. Early exits: the graph has none of those behind block 1, 3; every row" in card
    assert proof["gflops"] < proof["structure_gflops"], "the heads of the exits are not in it"
    proof, card = told("token-experts", tiny_bert, tmp_path)
    assert "Lost. Experts chosen for each token: the graph computes all of them" in card
    assert (len(proof["kept"]), len(proof["lost"])) == (0, 1)


def test_skipped_tokens_and_the_experts_of_rows_keep_their_saving(tiny_bert, tmp_path):
    proof, card = told("skips", tiny_bert, tmp_path)
    assert "Kept. Skipped tokens: only the kept ones run through block 2, 3" in card
    whole = source_of("class", tiny_bert, replace(SPECS["skips"], skips=()))
    dense = export(Onnx(), whole, tmp_path / "dense")
    assert proof["gflops"] == pytest.approx(proof["structure_gflops"])
    assert proof["gflops"] < dense["gflops"]
    proof, card = told("row-experts", tiny_bert, tmp_path)
    assert proof["kept"] and not proof["lost"]
    assert proof["gflops"] < proof["structure_gflops"]


def test_int8_is_measured_against_float32(tiny_bert, tmp_path):
    source = source_of("class", tiny_bert, SPECS["full"])
    proof = export(Onnx(), source, tmp_path / "out", int8=True)
    config, table = source.bundle.config, source.rows
    batch = table.collate(range(len(table)))
    values = []
    for answer in (
        lambda given: source.bundle.model(**given),
        independent(tmp_path / "out" / "model.onnx"),
    ):
        scorer = Scorer(config.what, config.labels, config.scale)
        with torch.no_grad():
            scorer.update(range(len(table)), answer(batch.inputs), batch.labels)
        values.append(scorer.scores().metrics["accuracy"])
    assert [proof["float32_value"], proof["int8_value"]] == pytest.approx(values)
    assert proof["int8_difference"] == proof["int8_value"] - proof["float32_value"]
    assert proof["int8_products"] > 10
    assert proof["tolerance"] is None and proof["largest_difference"] > 1e-4
    assert set(proof["speed"]) == {"float32 torch", "float32 ONNX Runtime", "int8 ONNX Runtime"}
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"{proof['int8_difference']:+.4f}" in card
    nodes = onnx.load(tmp_path / "out" / "model.onnx").graph.node
    head = {node.op_type for node in nodes if node.name.startswith("/model/head/")}
    assert "MatMul" in head and "MatMulInteger" not in head, "the head stays in float32"


def test_minilm_in_int8_is_faster_than_torch(minilm, tmp_path):
    source = replace(
        source_of("class", minilm, structure(6, (0, 5), MIXED), spread=0.05), n_tokens=14
    )
    proof = export(Onnx(), source, tmp_path / "out", int8=True)
    assert proof["speed"]["int8 ONNX Runtime"]["speedup"] >= 1.5
    assert abs(proof["int8_difference"]) <= 0.1
    assert_graph_answers(source, tmp_path)


class Unknown(nn.Module):
    """A pooling by an operator that ONNX does not have."""

    def forward(self, hidden, mask):
        return torch.special.bessel_j0(hidden).sum(1)


def test_what_torch_onnx_has_no_form_of_is_refused_before_anything_is_written(tiny_bert, tmp_path):
    source = source_of("class", tiny_bert, SPECS["head-only"])
    source.bundle.model.head.pooling = Unknown()
    assert "bessel_j0" in Onnx().refusal(source, Options())
    with pytest.raises(UserError, match=r"--format onnx: torch.onnx has no form of .*bessel_j0"):
        export(Onnx(), source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_weights_lie_apart_where_one_file_cannot_hold_them(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "_LARGEST_FILE", 1000)
    source = source_of("class", tiny_bert, SPECS["plain"])
    proof = export(Onnx(), source, tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx.data").stat().st_size > 10_000
    assert proof["largest_difference"] < 1e-4
    export(Onnx(), source, tmp_path / "int8", int8=True)


def test_the_trained_model_is_left_as_it_was(tiny_bert, tmp_path):
    source = source_of("class", tiny_bert, SPECS["exits"])
    before = {name: t.clone() for name, t in source.bundle.model.state_dict().items()}
    modules = [type(module) for module in source.bundle.model.modules()]
    export(Onnx(), source, tmp_path / "out")
    assert [type(module) for module in source.bundle.model.modules()] == modules
    for name, tensor in source.bundle.model.state_dict().items():
        assert torch.equal(tensor, before[name])
