"""What all trials share is checked before anything is written."""

import pytest

from search.context import prepare
from search.study_file import load_study_file
from space.cost import HeadShape
from space.errors import UserError
from space.spec import AdapterSpec
from tests.end_to_end.task_studies import N_ROWS, write_task_study
from tests.end_to_end.tiny_study import write_rows, write_study


def test_texts_longer_than_the_backbone_has_positions_for_are_refused(tmp_path, backbone):
    write_rows(tmp_path / "rows.csv")
    data = {"train": "rows.csv", "max_length": 65}
    study = load_study_file(write_study(tmp_path, backbone=str(backbone), data=data))
    with pytest.raises(UserError, match=r"data.max_length: must be at most 64.* but got 65"):
        prepare(study, tmp_path, stage=lambda _: None)


def test_tokens_are_made_once_and_shared(tmp_path, backbone):
    write_rows(tmp_path / "rows.csv", 60)
    study = load_study_file(write_study(tmp_path, backbone=str(backbone)))
    stages = []
    context = prepare(study, tmp_path, stage=stages.append)
    assert stages == [
        "loading the backbone",
        "reading the data",
        "tokenising",
        "measuring what is fast on this machine",
    ]
    assert (len(context.train), len(context.validation), context.n_outputs) == (48, 12, 3)
    assert context.tokens.mean == pytest.approx(context.train.lengths.mean())
    assert not (tmp_path / "paradapt.db").exists()


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("classes-of-texts", HeadShape(n_outputs=2)),
        ("several-labels", HeadShape(n_outputs=3)),
        ("numbers", HeadShape(n_outputs=1)),
        ("tags", HeadShape(n_outputs=3, per_token=True)),
        ("images", HeadShape(n_outputs=2)),
        ("language", HeadShape(n_outputs=64, per_token=True, trained=False)),
    ],
)
def test_the_head_is_that_of_the_task(tmp_path, name, head):
    study = load_study_file(write_task_study(name, tmp_path))
    stages = []
    context = prepare(study, tmp_path, stage=stages.append)
    assert context.cost.head == head and context.n_outputs == head.n_outputs
    assert (context.data.scale is not None) == (name == "numbers")
    assert len(context.train) + len(context.validation) == N_ROWS
    assert context.tokens.mean == pytest.approx(context.train.lengths.mean())
    assert ("preparing the images" in stages) == (name == "images")
    model = context.model_of(AdapterSpec(depth=2, pooling=context.space.pooling[0]))
    batch = context.train.collate([0, 1])
    assert model(**batch.inputs).shape[-1] == head.n_outputs


def test_a_space_that_does_not_fit_the_task_is_refused_before_the_data_are_read(tmp_path):
    path = write_task_study("language", tmp_path, space={"token_keep": [0.5]})
    stages = []
    with pytest.raises(UserError, match=r"^space.token_keep: "):
        prepare(load_study_file(path), tmp_path, stage=stages.append)
    assert stages == ["loading the backbone"]


def test_a_backbone_that_does_not_fit_the_task_is_refused(tmp_path):
    path = write_task_study("language", tmp_path)
    path.write_text(path.read_text().replace("causal-lm", "image-classification"))
    path.write_text(path.read_text().replace("max_length: 32", "max_length: 64"))
    with pytest.raises(UserError, match=r"^backbone: "):
        prepare(load_study_file(path), tmp_path, stage=lambda _: None)
