"""The widths of a backbone are those of what really runs."""

import pytest
import torch
from torch import nn

from space.cost import CostModel, HeadShape, TokenStats
from space.errors import UserError
from tests.trainers.tiny import CONFIGS, WIDTH, save_model, structure
from trainers.backbone import load_backbone
from trainers.families import FAMILIES
from trainers.flops import measure_gflops
from trainers.model import build, concatenated, deploy
from trainers.shape import measure_shape


@pytest.mark.parametrize("kernel", [0, 3])
def test_a_convolution_between_the_blocks_is_counted(kernel, tmp_path):
    config = CONFIGS["deberta-v2"]()
    config.conv_kernel_size, config.conv_act = kernel, "gelu"
    backbone = load_backbone(str(save_model(config, tmp_path / "model")))
    assert backbone.shape.embedding_macs == kernel * WIDTH**2
    spec = structure(3, (0, 2), {"query": "lora", "ffn": "bottleneck"})
    cost = CostModel(
        shape=backbone.shape,
        head=HeadShape(n_outputs=3),
        tokens=TokenStats.of([11]),
        ways=concatenated,
    )
    model = deploy(build(backbone, spec, 3, seed=0), backbone)
    assert cost.inference_gflops(spec) == pytest.approx(measure_gflops(model, backbone, 11))


def test_relative_attention_of_another_kind_is_refused(tmp_path):
    config = CONFIGS["deberta-v2"]()
    config.pos_att_type = ["c2p"]
    with pytest.raises(UserError, match=r"relative attention of another kind than DeBERTa-v3's"):
        load_backbone(str(save_model(config, tmp_path / "model")))


def test_blocks_that_differ_are_refused(tmp_path):
    backbone = load_backbone(str(save_model(CONFIGS["bert"](), tmp_path / "model")))
    block = backbone.model.encoder.layer[1]
    block.intermediate.dense = nn.Linear(WIDTH, 2 * WIDTH)
    with torch.no_grad(), pytest.raises(UserError, match="blocks of 'mine' differ in their widths"):
        measure_shape("mine", backbone.model, FAMILIES["bert"])
