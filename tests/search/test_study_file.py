"""The study file: what is read, filled in, overridden, and told to editors."""

import json
from pathlib import Path

import pytest
import yaml

from search.pruners import AccuracyHalving, NoPruner, ParetoHalving
from search.study_file import load_study_file, schema
from space.cost import BackboneShape, HeadShape
from space.errors import UserError
from space.roles import LINEAR_ROLES
from space.search_space import FloatRange
from tests.search.valid_study import VALID
from trainers.tasks import TASKS

ROLES_HERE = tuple(role for role in LINEAR_ROLES if role != "ffn_gate")
STUDIES = Path(__file__).parents[2] / "studies"
SHAPE = BackboneShape(
    n_layers=4,
    width=32,
    attention_width=32,
    kv_width=32,
    block_macs=6 * 32 * 32,
    role_shapes=tuple((role, (32, 32)) for role in ROLES_HERE),
)
HEAD = HeadShape(n_outputs=2)


class TestRead:
    def test_defaults_are_filled_in(self, load):
        study = load()
        assert study.objective_names == ("accuracy", "inference_gflops")
        assert study.directions == ("maximize", "minimize")
        assert (study.budget.trials, study.budget.epochs, study.budget.minutes) == (24, 4, None)
        assert (study.sampler, study.pruner, study.seed) == ("tpe", "pareto-halving", 0)
        assert study.baselines == ("head_only", "lora_all", "bottleneck_all")
        assert (study.data.text, study.data.label, study.data.max_length) == ("text", "label", 64)
        assert study.bounds == ()

    def test_a_relative_path_is_relative_to_the_study_file(self, load, tmp_path, monkeypatch):
        (tmp_path / "models" / "own").mkdir(parents=True)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        study = load(
            backbone="models/own",
            data={"train": "rows/train.csv", "validation": "rows/validation.csv"},
            artifacts="weights",
        )
        assert study.data.train == str(tmp_path / "rows/train.csv")
        assert study.data.validation == str(tmp_path / "rows/validation.csv")
        assert study.storage == f"sqlite:///{tmp_path}/paradapt.db"
        assert study.tracking == f"sqlite:///{tmp_path}/mlflow.db"
        assert study.artifacts == str(tmp_path / "weights")
        assert study.backbone == str(tmp_path / "models/own")

    def test_what_is_no_relative_path_stays_as_it_is(self, load):
        study = load(
            backbone="bert-base-uncased",
            data={"train": "/data/train.csv"},
            storage="postgresql://me:secret@db/studies",
            tracking="http://127.0.0.1:5000",
        )
        assert study.backbone == "bert-base-uncased"
        assert study.data.train == "/data/train.csv"
        assert study.storage == "postgresql://me:secret@db/studies"
        assert study.tracking == "http://127.0.0.1:5000"

    def test_a_home_folder_is_expanded(self, load, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert load(data={"train": "~/train.csv"}).data.train == f"{tmp_path}/home/train.csv"

    def test_an_sqlite_storage_with_a_driver_is_made_absolute_too(self, load, tmp_path):
        study = load(storage="sqlite+pysqlite:///deep/own.db")
        assert study.storage == f"sqlite+pysqlite:///{tmp_path}/deep/own.db"

    def test_a_number_in_scientific_notation_is_a_number(self, tmp_path):
        path = tmp_path / "study.yaml"
        rates = "{low: 1e-4, high: 1E-2, log: true}"
        path.write_text(yaml.safe_dump(VALID) + f"space: {{learning_rate: {rates}}}\n")
        space = load_study_file(path).search_space(SHAPE, HEAD)
        assert space.learning_rate == FloatRange(low=1e-4, high=1e-2, log=True)

    def test_the_resolved_file_reads_as_the_same_study(self, load, tmp_path):
        study = load(
            space={
                "rank": [2, 4],
                "insertion": "windows",
                "learning_rate": {"low": 1e-4, "high": 1},
            },
            constraints=[{"trainable_params": {"max": 50_000}}],
        )
        path = tmp_path / "resolved.yaml"
        path.write_text(study.to_yaml())
        assert load_study_file(path) == study

    def test_constraints_become_one_bound_each(self, load):
        study = load(constraints=[{"latency_ms": {"min": 1, "max": 8}}, {"accuracy": {"min": 0.5}}])
        assert [bound.describe() for bound in study.bounds] == [
            "latency_ms >= 1",
            "latency_ms <= 8",
            "accuracy >= 0.5",
        ]

    @pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.name)
    def test_a_study_file_that_we_ship_loads(self, path):
        study = load_study_file(path)
        assert study.name == path.stem

    def test_the_space_of_the_backbone_is_filled_in(self, load):
        space = load(space={"rank": [4]}).search_space(SHAPE, HEAD)
        assert space.rank == (4,)
        assert space.depth == (2, 3, 4)
        assert set(ROLES_HERE) <= set(space.roles)

    def test_defaults_are_cut_to_what_the_user_chose(self, load):
        assert load(space={"kinds": ["lora"]}).search_space(SHAPE, HEAD).roles == ROLES_HERE
        assert load(space={"roles": ["query"]}).search_space(SHAPE, HEAD).kinds == ("lora",)

    def test_a_space_that_does_not_fit_the_backbone_tells_all_problems(self, load):
        study = load(space={"depth": [3, 9], "roles": ["querry"], "pooling": ["max"]})
        with pytest.raises(UserError) as caught:
            study.search_space(SHAPE, HEAD)
        text = str(caught.value)
        assert len(caught.value.problems) == 3
        assert "space.depth: 9 is not possible; the backbone has 4 blocks" in text
        assert "space.roles: 'querry' is unknown" in text and "Did you mean `query`" in text
        assert "space.pooling: 'max' is unknown; the names are mean, cls, last, attention" in text


RICH = {
    "granularity": "layer",
    "scaling": "alpha/sqrt(rank)",
    "experts": [1, 4],
    "top_k": [1, 2],
    "router": ["token", "sequence"],
    "token_keep": [1.0, 0.5],
    "skip_layers": ["last"],
    "exits": ["none", "middle"],
}


class TestTask:
    @pytest.mark.parametrize(
        ("task", "first"),
        [
            ("text-classification", {"maximize": "accuracy"}),
            ("text-pair-classification", {"maximize": "accuracy"}),
            ("text-regression", {"maximize": "pearson"}),
            ("token-classification", {"maximize": "entity_f1"}),
            ("image-classification", {"maximize": "accuracy"}),
            ("causal-lm", {"minimize": "perplexity"}),
        ],
    )
    def test_its_first_metric_and_the_cost_are_the_default_objectives(
        self, load, tmp_path, task, first
    ):
        study = load(task=task)
        assert study.objectives == (first, {"minimize": "inference_gflops"})
        path = tmp_path / "resolved.yaml"
        path.write_text(study.to_yaml())
        assert load_study_file(path) == study

    def test_with_several_labels_it_is_micro_f1(self, load):
        study = load(data={"train": "a.csv", "label_separator": ";"})
        assert study.objective_names == ("micro_f1", "inference_gflops")
        assert study.what.multi_label and study.columns.label_separator == ";"

    def test_objectives_that_are_given_stay(self, load):
        given = [{"maximize": "spearman"}, {"minimize": "trainable_params"}]
        study = load(task="text-regression", objectives=given)
        assert list(study.objectives) == given

    def test_pairs_are_read_from_text_and_text_pair(self, load):
        columns = load(task="text-pair-classification").columns
        assert (columns.text, columns.text_pair) == ("text", "text_pair")
        data = {"train": "a.csv", "text": "a", "text_pair": "b"}
        columns = load(task="text-pair-classification", data=data).columns
        assert (columns.text, columns.text_pair) == ("a", "b")

    def test_a_regression_reads_pairs_where_a_second_column_is_named(self, load):
        assert load(task="text-regression").what.inputs == ("text",)
        data = {"train": "a.csv", "text_pair": "other"}
        assert load(task="text-regression", data=data).what.inputs == ("text", "text_pair")

    def test_images_have_a_column_of_their_own(self, load):
        assert load(task="image-classification").columns.image == "image"
        data = {"train": "a.csv", "image": "file"}
        assert load(task="image-classification", data=data).columns.image == "file"


class TestPruning:
    def test_the_settings_reach_the_pruner(self, load):
        study = load(pruning={"reduction": 4, "first_rung": 0.25, "min_peers": 6, "patience": 2})
        assert study.stopping == ParetoHalving(
            reduction=4, first_rung=0.25, min_peers=6, patience=2
        )
        assert not study.pruning.resume and load(pruning={"resume": True}).pruning.resume

    def test_the_defaults_are_those_of_the_pruner(self, load):
        assert load().stopping == ParetoHalving()
        assert load(pruner="accuracy-halving").stopping == AccuracyHalving()
        assert load(pruner="none", pruning={"reduction": 3}).stopping == NoPruner()


class TestStartingPoints:
    def test_one_that_does_not_lie_in_the_space_is_refused(self, load):
        names = ["top_layers", "middle_layers"]
        study = load(starting_points=names, space={"insertion": ["all", "last"]})
        with pytest.raises(UserError) as caught:
            study.search_space(SHAPE, HEAD)
        (problem,) = caught.value.problems
        assert problem.startswith("starting_points: no structure of 'middle_layers' lies in the")

    def test_those_that_fit_are_taken(self, load):
        names = ["top_layers", "middle_layers", "ffn_only"]
        load(starting_points=names, space={"insertion": "windows"}).search_space(SHAPE, HEAD)


class TestSpace:
    def test_every_key_reaches_the_space(self, load):
        space = load(space=RICH).search_space(SHAPE, HEAD)
        for key, value in RICH.items():
            assert getattr(space, key) == (tuple(value) if isinstance(value, list) else value), key

    def test_exits_of_a_regression_are_refused(self, load):
        study = load(task="text-regression", space={"exits": ["none", "middle"]})
        with pytest.raises(UserError, match=r"^space.exits: a number tells nothing of how sure"):
            study.search_space(SHAPE, HeadShape(n_outputs=1))
        load(task="text-regression", space={"exits": ["none"]}).search_space(SHAPE, HEAD)

    @pytest.mark.parametrize(
        ("task", "space", "key"),
        [
            ("token-classification", {"exits": ["middle"]}, "space.exits"),
            ("token-classification", {"pooling": ["mean"]}, "space.pooling"),
            ("causal-lm", {"token_keep": [0.5]}, "space.token_keep"),
            ("causal-lm", {"experts": [2], "router": ["sequence"]}, "space.router"),
        ],
    )
    def test_what_does_not_go_with_the_head_is_refused(self, load, task, space, key):
        head = HeadShape(n_outputs=9, per_token=True, trained=task != "causal-lm")
        with pytest.raises(UserError) as caught:
            load(task=task, space=space).search_space(SHAPE, head)
        (problem,) = caught.value.problems
        assert problem.startswith(f"{key}: ")


class TestSet:
    @pytest.mark.parametrize(
        ("override", "read", "value"),
        [
            ("budget.trials=8", lambda s: s.budget.trials, 8),
            (" seed = 7 ", lambda s: s.seed, 7),
            ("name=other", lambda s: s.name, "other"),
            ("space.rank=[2, 4]", lambda s: s.space.rank, (2, 4)),
            ("space.insertion=free", lambda s: s.space.insertion, "free"),
            ("space.learning_rate=1e-3", lambda s: s.space.learning_rate, 1e-3),
            (
                "space.learning_rate={low: 1e-4, high: 1e-2}",
                lambda s: (s.space.learning_rate.low, s.space.learning_rate.high),
                (1e-4, 1e-2),
            ),
            (
                "objectives=[{maximize: macro_f1}, {minimize: train_s}]",
                lambda s: s.objective_names,
                ("macro_f1", "train_s"),
            ),
            ("data.rows=null", lambda s: s.data.rows, None),
            ("storage=sqlite:////tmp/a=b.db", lambda s: s.storage, "sqlite:////tmp/a=b.db"),
        ],
    )
    def test_an_override_replaces_a_key(self, load, override, read, value):
        assert read(load(override)) == value

    def test_the_last_override_of_a_key_holds(self, load):
        assert load("seed=1", "seed=2").seed == 2

    def test_an_override_makes_the_range_of_a_range(self, load):
        study = load("space.learning_rate.low=1e-4", "space.learning_rate.high=0.1")
        assert (study.space.learning_rate.low, study.space.learning_rate.high) == (1e-4, 0.1)


class TestSchema:
    def test_the_schema_that_we_ship_is_current(self):
        shipped = (STUDIES / "study.schema.json").read_text(encoding="utf-8")
        assert shipped == schema(), "run: python -m search.study_file > studies/study.schema.json"

    def test_objectives_may_be_left_out(self):
        assert json.loads(schema())["required"] == ["name", "task", "backbone", "data"]

    def test_every_key_has_a_description(self):
        sections = json.loads(schema())
        for name, section in {"": sections, **sections["$defs"]}.items():
            for key, content in section["properties"].items():
                described = content.get("description") or (
                    sections["$defs"][content["$ref"].rpartition("/")[2]]["description"]
                    if "$ref" in content
                    else ""
                )
                assert described, f"{name}.{key}"

    def test_editors_are_given_the_names(self):
        properties = json.loads(schema())["properties"]
        assert {"tpe", "nsga2", "random"} <= set(properties["sampler"]["enum"])
        assert {"pareto-halving", "accuracy-halving", "none"} == set(properties["pruner"]["enum"])
        assert set(properties["task"]["enum"]) == set(TASKS)

    @pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.name)
    def test_a_study_file_that_we_ship_names_the_schema(self, path):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=study.schema.json"
