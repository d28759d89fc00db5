"""What all trials share is checked before anything is written."""

import pytest

from search.context import prepare
from search.study_file import load_study_file
from space.errors import UserError
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
    assert stages == ["loading the backbone", "reading the data", "tokenising"]
    assert (len(context.train), len(context.validation), context.n_outputs) == (48, 12, 3)
    assert context.tokens.mean == pytest.approx(context.train.lengths.mean())
    assert not (tmp_path / "paradapt.db").exists()
