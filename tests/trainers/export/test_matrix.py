"""The matrix of kinds x formats: written with its proof, or refused before that with a reason."""

import json

import pytest

from search.formats import FORMATS, format_named
from space.adapter import TokenSkip
from space.errors import UserError
from space.side import Side
from space.spec import AdapterSpec
from tests.trainers.explain.bundles import adapter
from tests.trainers.export.sources import export, source_of
from tests.trainers.tiny import structure
from trainers.export.format import Options
from trainers.export.writing import check_expressible

pytest.importorskip("peft", reason="PEFT is an optional dependency (paradapt[peft])")

LORA = {"query": "lora", "value": "lora"}
STRUCTURES = {
    "lora": structure(4, (1, 3), LORA),
    "ia3": structure(4, (1, 3), {"key": "ia3", "ffn_down": "ia3"}),
    "bottleneck": structure(4, (1, 3), {"attention": "bottleneck", "ffn": "bottleneck"}),
    "parallel": structure(4, (1, 3), {"attention": "parallel", "ffn": "parallel"}),
    "prefix": structure(4, (0, 1, 2, 3), {"attention": "prefix"}),
    "side": AdapterSpec(depth=4, side=Side(width=8, boundaries=(1, 3))),
    "experts": AdapterSpec(depth=4, adapters=(adapter(1, "value", "lora", experts=3),)),
    "token_keep": AdapterSpec(depth=4, skips=(TokenSkip(layer=2, token_keep=0.5, rank=3),)),
    "exits": AdapterSpec(depth=4, adapters=(adapter(1, "value", "lora"),), exits=(2,)),
    "head only": AdapterSpec(depth=4),
    "cut depth": structure(2, (0, 1), LORA),
}
"""One structure for each kind of part, all of them for one task on a tiny BERT."""

_BESIDE = {
    "side": "its side network of width 8 is no part of a transformers model",
    "token_keep": r"tokens pass by its blocks 2 \(token_keep\)",
    "exits": r"it has early exits \(behind 2 blocks\)",
}
REFUSALS = {
    "peft": {
        **_BESIDE,
        "bottleneck": "PEFT has no form of bottleneck at attention of block 1",
        "parallel": "PEFT has no form of parallel at attention of block 1",
        "experts": "PEFT has no form of lora of 3 experts at value of block 1",
        "head only": "no adapter that PEFT could load, only a head.*--format merged",
    },
    "merged": {
        **_BESIDE,
        "bottleneck": "bottleneck at attention of block 1 cannot be folded into a weight",
        "parallel": "parallel at attention of block 1 cannot be folded into a weight",
        "prefix": "prefix at attention of block 0 cannot be folded into a weight",
        "experts": "lora of 3 experts at value of block 1 cannot be folded into a weight",
    },
}
"""For each format the structures that it has no form of, and what is said; all others are written:
a format that is not here holds every structure."""


_SLOW = ("onnx", "openvino", "mlflow")
"""Seconds a structure: a graph is traced, or MLflow starts."""
_FORMATS = [pytest.param(name, marks=pytest.mark.slow if name in _SLOW else ()) for name in FORMATS]


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("name", FORMATS)
def test_what_a_format_has_no_form_of_is_refused_before_it_is_written(
    name, kind, tiny_bert, tmp_path
):
    form, source = format_named(name), source_of("class", tiny_bert, STRUCTURES[kind])
    reason = REFUSALS.get(name, {}).get(kind)
    if reason is None:
        check_expressible(form, source, Options())
        return
    with pytest.raises(UserError, match=rf"--format {name}: .*{reason}") as refused:
        export(form, source, tmp_path / "out")
    assert "--format bundle" in str(refused.value), "the way out is told"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")  # MLflow
@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("name", _FORMATS)
def test_a_structure_that_a_format_has_a_form_of_is_written_with_its_proof(
    name, kind, tiny_bert, tmp_path
):
    if kind in REFUSALS.get(name, {}):
        return
    form, source = format_named(name), source_of("class", tiny_bert, STRUCTURES[kind])
    proof = export(form, source, tmp_path / "out")
    assert proof["format"] == name
    assert proof["largest_difference"] <= form.tolerance(Options())
    assert proof["same_decisions"] == 1.0
    assert json.loads((tmp_path / "out" / "proof.json").read_text("utf-8")) == proof


def test_an_option_that_a_format_does_not_take_is_refused(tiny_bert):
    source = source_of("class", tiny_bert, STRUCTURES["lora"])
    for name in ("merged", "peft", "bundle"):
        with pytest.raises(UserError, match=f"--int8: the format {name} does not take it"):
            check_expressible(format_named(name), source, Options(int8=True))
