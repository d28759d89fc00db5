"""The command on updates of a backbone, and its account of them against what is computed here."""

import csv
import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModel

from search.cli import main
from search.objectives import formatted
from search.study_file import load_study_file
from space.adapter import Adapter
from space.spec import AdapterSpec
from tests.end_to_end.tiny_study import messages, tiny_backbone
from tests.search.migrated import BOTH, account_of, lora, train_bundle, write_topics
from tests.trainers.tiny import save_tiny
from tests.trainers.updates import shaken, wider, without_blocks
from trainers.bundle import load
from trainers.predict import predict
from trainers.weights import read_tensors


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A study, its bundle, and updates of the backbone."""
    folder = tmp_path_factory.mktemp("migrate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        own = tiny_backbone(folder / "tiny")
        shaken(own, folder / "shaken")
        without_blocks(own, folder / "short", (0,))
        wider(own, folder / "wide")
        study = write_topics(folder, own)
        train_bundle(folder / "old", study)
        yield folder


def run(place, output, *words, bundle="old", backbone="shaken"):
    """Run the command in this process; return what it says and what it wrote."""
    done = CliRunner().invoke(
        main,
        [
            *("migrate", str(place / bundle), "--backbone", str(place / backbone)),
            *("--data", str(place / "study.yaml"), "--output", str(place / output)),
            *map(str, words),
        ],
    )
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout, account_of(place / output)


def accuracy(bundle, place):
    """The share of validation rows that a bundle labels right, counted here."""
    with (place / "validation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = predict(load(bundle), text=[row["text"] for row in rows])["prediction"]
    return sum(a == row["label"] for a, row in zip(found, rows, strict=True)) / len(rows)


def trained(bundle):
    """What was trained; the gate of a prefix is no more than how far it was let in."""
    state = read_tensors(bundle / "adapter.safetensors")
    return {name: tensor for name, tensor in state.items() if not name.endswith(".gate")}


def n_trained(bundle):
    return sum(tensor.numel() for tensor in trained(bundle).values())


def linear_gflops(folder, depth, n_tokens):
    """2 x MACs of the linear layers and of attention in so many blocks, counted from the model."""
    model = AutoModel.from_pretrained(folder)
    macs = 0
    for block in model.encoder.layer[:depth]:
        linear = [m for m in block.modules() if isinstance(m, torch.nn.Linear)]
        macs += sum(m.weight.numel() for m in linear) * n_tokens
        macs += 2 * n_tokens**2 * model.config.hidden_size
    return 2 * macs / 1e9


@pytest.fixture(scope="module")
def moved(place):
    return run(place, "only-moved", "--epochs", 0)


@pytest.fixture(scope="module")
def refitted(place):
    return run(place, "refitted")


class TestSameShape:
    def test_weights_that_are_only_moved_are_the_old_ones(self, place, moved):
        _, account = moved
        old = read_tensors(place / "old" / "adapter.safetensors")
        new = read_tensors(place / "only-moved" / "adapter.safetensors")
        assert old.keys() == new.keys() and all(torch.equal(old[k], new[k]) for k in old)
        assert account["relation"] == "same shape" and account["weights"]["new"] == []
        assert account["training"] == {"epochs": 0, "steps": 0}
        assert account["results"]["trained"] is None and account["front"] is None

    def test_its_figures_are_those_of_the_bundles(self, place, moved, refitted):
        results = {**refitted[1]["results"]}
        assert results["before"]["accuracy"] == pytest.approx(accuracy(place / "old", place))
        assert results["moved"]["accuracy"] == pytest.approx(accuracy(place / "only-moved", place))
        assert results["trained"]["accuracy"] == pytest.approx(accuracy(place / "refitted", place))
        assert refitted[1]["before_is"] == "measured"
        assert moved[1]["results"]["moved"]["accuracy"] == results["moved"]["accuracy"]
        for stage in results.values():
            assert stage["trainable_params"] == n_trained(place / "refitted")
            assert stage["inference_gflops"] == results["before"]["inference_gflops"]
            assert stage["latency_ms"] > 0

    def test_refitting_begins_from_the_moved_weights(self, place, refitted):
        _, account = refitted
        assert account["training"] == {"epochs": 1, "steps": 8}
        old, new = trained(place / "old"), trained(place / "refitted")
        change, size = (
            torch.cat([state[name].flatten() for name in old]).norm()
            for state in ({name: new[name] - old[name] for name in old}, old)
        )
        assert 0 < change < size / 2

    def test_terminal_and_card_say_it(self, place, refitted):
        said, account = refitted
        shown = [formatted("accuracy", s["accuracy"]) for s in account["results"].values()]
        card = (place / "refitted" / "README.md").read_text(encoding="utf-8")
        sentence = "Validation accuracy: before {}; moved {}; refitted, 1 epoch {}.".format(*shown)
        assert sentence in said and sentence in card
        assert "| on validation data | before | moved only | refitted, 1 epoch |" in card
        assert "has the same shape and other weights: bert, 2 blocks of width 32." in said
        assert f"The new bundle is in {place / 'refitted'}." in said
        assert "## Migration" in card and "## This export" in card

    def test_the_bundle_holds_its_proof_and_stands_on_the_new_backbone(self, place, refitted):
        config = load(place / "refitted").config
        assert config.backbone == str(place / "shaken") and config.spec == BOTH
        assert config.provenance["epochs"] == 1 and config.provenance["trial"] == 7
        (parent,) = config.provenance["lineage"]
        assert parent["backbone"] == str(place / "tiny")
        proof = json.loads((place / "refitted" / "proof.json").read_text(encoding="utf-8"))
        assert proof["largest_difference"] <= 1e-5

    def test_a_backbone_that_was_overwritten_in_its_place(self, place, tmp_path):
        own = shutil.copytree(place / "tiny", tmp_path / "tiny")
        study = load_study_file(place / "study.yaml").model_copy(update={"backbone": str(own)})
        recorded = train_bundle(tmp_path / "bundle", study)
        shutil.rmtree(own)
        shaken(place / "tiny", own)
        refused = CliRunner().invoke(
            main,
            [
                *("predict", str(tmp_path / "bundle"), "--input", str(place / "validation.csv")),
                *("--output", str(tmp_path / "out.csv")),
            ],
        )
        assert refused.exit_code == 2
        (message,) = messages(refused.stderr)
        assert f"paradapt migrate {tmp_path / 'bundle'} --backbone {own}" in message
        said, account = run(place, tmp_path / "new", bundle=tmp_path / "bundle", backbone=own)
        assert account["relation"] == "same shape"
        assert account["before_is"].startswith("recorded: the old backbone")
        assert account["results"]["before"]["accuracy"] == recorded["accuracy"]
        assert "was overwritten by the new one" in said


class TestOtherShape:
    def test_fewer_blocks(self, place):
        said, account = run(place, "on-short", backbone="short")
        new = load(place / "on-short")
        assert account["relation"] == "fewer blocks"
        assert new.config.spec == AdapterSpec(
            depth=1,
            adapters=(
                lora(0),
                lora(0, "ffn_up", 2),
                Adapter(layer=0, role="attention", kind="prefix", rank=2),
            ),
        )
        assert account["dropped"] == [
            "value: what was in layer 0, as the adapter above it now stands in the same block"
        ]
        assert "depth: 1 of 1 blocks in place of 2 of 2" in account["changed"]
        assert set(account["weights"]["moved"]) == {
            *("head", "adapters.0.value", "adapters.0.ffn_up", "adapters.0.attention")
        }
        assert account["weights"]["new"] == []
        assert account["training"]["epochs"] == 4
        results = account["results"]
        assert results["trained"]["accuracy"] == pytest.approx(accuracy(place / "on-short", place))
        assert results["moved"] is not None
        assert results["trained"]["trainable_params"] == n_trained(place / "on-short")
        assert "Training: from the moved weights, for 4 epochs (32 steps)." in said

    def test_wider(self, place):
        said, account = run(place, "on-wide", backbone="wide")
        assert account["relation"] == "another shape" and account["results"]["moved"] is None
        assert load(place / "on-wide").config.spec == BOTH
        assert account["weights"]["moved"] == [] and account["dropped"] == []
        results = account["results"]
        assert results["trained"]["accuracy"] == pytest.approx(accuracy(place / "on-wide", place))
        assert results["trained"]["trainable_params"] == n_trained(place / "on-wide")
        assert results["before"]["trainable_params"] == n_trained(place / "old")
        # Rows of topics have 10 words and two special tokens, all alike.
        for stage, folder in (("before", "tiny"), ("trained", "wide")):
            least = linear_gflops(place / folder, 2, 12)
            assert least < results[stage]["inference_gflops"] < 1.05 * least
        assert "bert, 2 blocks of width 48; before bert, 2 blocks of width 32." in said

    def test_another_family(self, place):
        save_tiny("modernbert", place / "other")
        said, account = run(place, "on-other", backbone="other")
        assert account["relation"] == "another family" and account["weights"]["moved"] == []
        roles = {role["role"]: role for role in account["roles"]}
        assert roles["value"]["before"] == "attention.self.value"
        assert roles["value"]["after"] == "attn.Wqkv (part 3 of 3)"
        assert any("ffn_gate" in text for text in account["changed"])
        assert "Roles by name: " in said and "depth: 4 of 4 blocks in place of 2 of 2" in said
        results = account["results"]
        assert results["trained"]["accuracy"] == pytest.approx(accuracy(place / "on-other", place))


def test_what_is_wrong_ends_with_status_2_and_writes_nothing(place):
    words = [
        *("migrate", str(place / "old"), "--backbone", str(place / "tiny")),
        *("--data", str(place / "study.yaml"), "--output", str(place / "nothing")),
    ]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2 and done.stdout == ""
    assert "there is nothing to migrate" in messages(done.stderr)[-1]
    assert not (place / "nothing").exists()
