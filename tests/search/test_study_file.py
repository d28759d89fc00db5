"""The study file: what is filled in, what is refused, and in which words."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from search.study_file import StudySpec, load_study_file, schema
from space.cost import BackboneShape
from space.errors import UserError
from space.roles import LINEAR_ROLES
from space.search_space import FloatRange

STUDIES = Path(__file__).parents[2] / "studies"
VALID = {
    "name": "mine",
    "task": "text-classification",
    "backbone": "minilm",
    "data": {"train": "rows/train.csv"},
}
SHAPE = BackboneShape(
    n_layers=4,
    width=32,
    attention_width=32,
    block_macs=12_288,
    role_shapes=tuple((role, (32, 32)) for role in LINEAR_ROLES),
)


@pytest.fixture
def load(tmp_path):
    """Return a function that loads the valid study file with some of its keys changed."""

    def run(*overrides, drop=(), **changes):
        content = {key: value for key, value in (VALID | changes).items() if key not in drop}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return load_study_file(path, overrides)

    return run


@pytest.fixture
def problems(load, tmp_path):
    """Return a function that gives what is refused, each message without the file's name."""

    def run(*overrides, **changes):
        with pytest.raises(UserError) as caught:
            load(*overrides, **changes)
        prefix = f"{tmp_path / 'study.yaml'}: "
        found = list(caught.value.problems)
        assert all(line.startswith((prefix, "--set ")) for line in found), found
        return [line.removeprefix(prefix) for line in found]

    return run


@pytest.fixture
def refusal(tmp_path):
    """Return a function that gives the message on a study file of this text or these bytes."""

    def run(content):
        path = tmp_path / "study.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError) as caught:
            load_study_file(path)
        (message,) = caught.value.problems
        assert message.startswith(f"{path}: ")
        return message.removeprefix(f"{path}: ")

    return run


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
        space = load_study_file(path).search_space(SHAPE)
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
        space = load(space={"rank": [4]}).search_space(SHAPE)
        assert space.rank == (4,)
        assert space.depth == (2, 3, 4)
        assert set(LINEAR_ROLES) <= set(space.roles)

    def test_defaults_are_cut_to_what_the_user_chose(self, load):
        assert load(space={"kinds": ["lora"]}).search_space(SHAPE).roles == LINEAR_ROLES
        assert load(space={"roles": ["query"]}).search_space(SHAPE).kinds == ("lora",)

    def test_a_space_that_does_not_fit_the_backbone_tells_all_problems(self, load):
        study = load(space={"depth": [3, 9], "roles": ["querry"], "pooling": ["max"]})
        with pytest.raises(UserError) as caught:
            study.search_space(SHAPE)
        text = str(caught.value)
        assert len(caught.value.problems) == 3
        assert "space.depth: 9 is not possible; the backbone has 4 blocks" in text
        assert "space.roles: 'querry' is unknown" in text and "Did you mean `query`" in text
        assert "space.pooling: 'max' is unknown; the names are mean, cls, attention" in text


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

    @pytest.mark.parametrize(
        ("override", "why"),
        [
            ("budget.trials", "write key.path=value"),
            ("=3", "write key.path=value"),
            ("budget..trials=3", "write key.path=value"),
            (".=3", "write key.path=value"),
            ("name.first=x", "`name` is not a section"),
            ("objectives.0=x", "`objectives` is not a section"),
            ("space.rank=[2", "the value is not YAML: line 1"),
        ],
    )
    def test_a_malformed_override_is_refused_by_name(self, problems, override, why):
        (message,) = problems(override, objectives=[])
        assert message.startswith(f"--set {override}: ") and why in message

    def test_an_override_is_checked_like_the_file(self, problems):
        assert problems("budget.trails=8") == [
            "budget.trails: unknown key. Did you mean `trials`? The keys here are trials, epochs,"
            " minutes."
        ]


class TestFile:
    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(UserError, match=r"none\.yaml: there is no such study file"):
            load_study_file(tmp_path / "none.yaml")

    def test_a_folder_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="this is a folder; give the study file in it"):
            load_study_file(tmp_path)

    def test_another_encoding_is_refused(self, refusal):
        assert "cannot be read as UTF-8" in refusal("name: käse".encode("latin-1"))

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("name: a\ndata: [1\n", "not YAML: line 3, column 1: "),
            ("name: a\n\tb: c\n", "not YAML: line 2, column 1: "),
            (
                "name: a\nseed: 1\nseed: 2\n",
                "not YAML: line 3, column 1: the key `seed` stands twice",
            ),
            (
                "budget:\n  trials: 1\n  trials: 1\n",
                "line 3, column 3: the key `trials` stands twice",
            ),
            ("a: &a [1]\nb: *a\n", "line 2, column 4: aliases such as *a are not read"),
            ("a: &a [*a]\n", "line 1, column 8: aliases such as *a are not read"),
            ("a: !!python/object/apply:os.getcwd []\n", "line 1, column 4: "),
            ("a: !!int ''\n", "not YAML: "),
            ("a: \0\n", "not YAML: unacceptable character"),
            ('a: "\\ud800"', "line 1, column 4: a text with half a character"),
            ('"\\udfff": 1', "line 1, column 1: a text with half a character"),
            ("{[1]: 2}", "not YAML: line 1"),
            ("a: " + "[" * 3000, "not YAML: "),
            ("seed: " + "9" * 5000, "not YAML: "),
        ],
    )
    def test_what_is_not_yaml_is_refused_with_its_place(self, refusal, text, why):
        assert why in refusal(text)

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", "nothing"),
            ("# only this\n", "nothing"),
            ("- a\n- b\n", "['a', 'b']"),
            ("hi", "'hi'"),
        ],
    )
    def test_a_top_level_that_is_no_mapping_is_refused(self, refusal, text, found):
        assert refusal(text) == f"a study file is a mapping (`name: ...`), but it holds {found}."


class TestKeys:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"spcae": {}}, "spcae: unknown key. Did you mean `space`? The keys here are name, "),
            (
                {"data": {"train": "a.csv", "lable": "y"}},
                "data.lable: unknown key. Did you mean `label`? The keys here are source, ",
            ),
            ({"space": {"rnk": [2]}}, "space.rnk: unknown key. Did you mean `rank`?"),
            (
                {"space": {"learning_rate": {"low": 1e-4, "high": 1e-2, "logg": True}}},
                "space.learning_rate.logg: unknown key. Did you mean `log`? The keys here are low,"
                " high, log.",
            ),
            ({"budget": {"minuts": 3}}, "budget.minuts: unknown key. Did you mean `minutes`?"),
            (
                {"training": {"batchsize": 3}},
                "training.batchsize: unknown key. Did you mean `batch_size`?",
            ),
        ],
    )
    def test_an_unknown_key_is_refused_with_its_near_match(self, problems, changes, message):
        (found,) = problems(**changes)
        assert message in found

    def test_a_key_that_is_no_text_is_refused(self, refusal):
        text = yaml.safe_dump(VALID | {3: 4})
        assert refusal(text).endswith("must be a text where a key stands, but got 3.")

    @pytest.mark.parametrize("key", sorted(VALID))
    def test_a_required_key_is_missed_by_name(self, problems, key):
        assert problems(drop=[key]) == [f"{key}: this key is required."]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"name": 3}, "name: must be a text, but got 3."),
            ({"name": ""}, "name: must not be empty, but got ''."),
            ({"name": "a/b"}, "name: must begin with a letter or digit and hold"),
            ({"name": "a" * 101}, "name: must have at most 100 characters, but got"),
            ({"data": None}, "data: must be a mapping, but got null."),
            ({"data": "rows.csv"}, "data: must be a mapping, but got 'rows.csv'."),
            ({"budget": [1]}, "budget: must be a mapping, but got [1]."),
            ({"budget": {"trials": "8"}}, "budget.trials: must be a whole number, but got '8'."),
            ({"budget": {"trials": True}}, "budget.trials: must be a whole number, but got true."),
            ({"budget": {"trials": 2.5}}, "budget.trials: must be a whole number, but got 2.5."),
            ({"budget": {"trials": -3}}, "budget.trials: must be at least 1, but got -3."),
            ({"budget": {"trials": 0}}, "budget.trials: must be at least 1, but got 0."),
            ({"budget": {"minutes": 0}}, "budget.minutes: must be greater than 0"),
            ({"budget": {"minutes": float("inf")}}, "budget.minutes: must be a finite number"),
            ({"seed": -1}, "seed: must be at least 0, but got -1."),
            ({"seed": 2**32}, "seed: must be less than 4294967296, but got 4294967296."),
            ({"workers": 2}, "workers: must be 1, but got 2."),
            ({"data": {"train": "a", "rows": "all"}}, "data.rows: must be a whole number, but got"),
            ({"data": {"train": "a", "rows": 0}}, "data.rows: must be at least 1, but got 0."),
            ({"data": {"train": "a", "max_length": 1}}, "data.max_length: must be at least 4"),
            (
                {"data": {"train": "a", "validation_share": 1}},
                "data.validation_share: must be less",
            ),
            ({"data": {"train": 3}}, "data.train: must be a text, but got 3."),
            ({"space": {"rank": []}}, "space.rank: must not be empty, but got []."),
            ({"space": {"rank": [4, 0]}}, "space.rank[1]: must be at least 1, but got 0."),
            ({"space": {"rank": 4}}, "space.rank: must be a list, but got 4."),
            ({"space": {"rank": [4, "8"]}}, "space.rank[1]: must be a whole number, but got '8'."),
            ({"space": {"depth": []}}, "space.depth: must not be empty, but got []."),
            ({"space": {"roles": "query"}}, "space.roles: must be a list, but got 'query'."),
            ({"space": {"kinds": []}}, "space.kinds: must not be empty, but got []."),
            ({"space": {"pooling": [1]}}, "space.pooling[0]: must be a text, but got 1."),
            ({"space": {"alpha": 0}}, "space.alpha: must be greater than 0"),
            ({"space": {"insertion": []}}, "space.insertion: must not be empty, but got []."),
            ({"space": {"insertion": 3}}, "space.insertion: must be a list, but got 3."),
            (
                {"space": {"insertion": "window"}},
                "space.insertion: must be one of windows, free, or a list of patterns (all, ",
            ),
            (
                {"space": {"learning_rate": "fast"}},
                "space.learning_rate: must be a number, but got 'fast'.",
            ),
            (
                {"space": {"learning_rate": [1e-4, 1e-2]}},
                "space.learning_rate: must be a number, but got [0.0001, 0.01].",
            ),
            (
                {"space": {"learning_rate": {"low": 1e-2, "high": 1e-4}}},
                "space.learning_rate.high: must be above low, which is 0.01, but got 0.0001.",
            ),
            (
                {"space": {"learning_rate": {"low": 1e-2, "high": 1e-2}}},
                "space.learning_rate.high: must be above low, which is 0.01, but got 0.01.",
            ),
            (
                {"space": {"learning_rate": {"low": 1e-2}}},
                "space.learning_rate.high: this key is required.",
            ),
            (
                {"task": "text-clasification"},
                "task: must be 'text-classification', but got 'text-clasification'. Did you mean"
                " `text-classification`?",
            ),
            (
                {"sampler": "nsga"},
                "sampler: 'nsga' is unknown; the names are tpe, nsga2, nsga3, gp,",
            ),
            ({"sampler": "nsga"}, "Did you mean `nsga3` or `nsga2`?"),
            ({"pruner": "pareto-halfing"}, "Did you mean `pareto-halving`?"),
            (
                {"pruner": "median"},
                "pruner: 'median' is unknown; the names are pareto-halving, none.",
            ),
            ({"baselines": ["lora"]}, "baselines[0]: 'lora' is unknown; the names are head_only, "),
            ({"baselines": ["heads_only"]}, "Did you mean `head_only`?"),
            ({"objectives": []}, "objectives: must have at least 2 entries, but got []."),
            (
                {"objectives": [{"maximize": "accuracy"}]},
                "objectives: must have at least 2 entries, but got [{maximize: 'accuracy'}].",
            ),
            (
                {"objectives": [{"maximize": "acuracy"}, {"minimize": "train_s"}]},
                "objectives: 'acuracy' is unknown; the names are accuracy, macro_f1, ",
            ),
            (
                {"objectives": [{"minimize": "accuracy"}, {"minimize": "train_s"}]},
                "objectives: accuracy is better the greater it is; write {maximize: accuracy}, not"
                " {minimize: accuracy}.",
            ),
            (
                {"objectives": [{"maximize": "accuracy"}, {"maximize": "accuracy"}]},
                "objectives: 'accuracy' stands twice.",
            ),
            (
                {"objectives": [{"maximise": "accuracy"}, {"minimize": "train_s"}]},
                "objectives[0].maximise: must be 'maximize' or 'minimize', but got 'maximise'.",
            ),
            (
                {
                    "objectives": [
                        {"maximize": "accuracy", "minimize": "train_s"},
                        {"minimize": "x"},
                    ]
                },
                "objectives[0]: must have at most 1 entry, but got",
            ),
            (
                {"constraints": [{"trainable_param": {"max": 3}}]},
                "constraints[0]: 'trainable_param' is unknown; the names are",
            ),
            (
                {"constraints": [{"latency_ms": {"maximum": 3}}]},
                "constraints[0].latency_ms.maximum: must be 'max' or 'min', but got 'maximum'.",
            ),
            (
                {"constraints": [{"latency_ms": {"max": "8"}}]},
                "constraints[0].latency_ms.max: must be a number, but got '8'.",
            ),
            ({"constraints": [{"latency_ms": 8}]}, "constraints[0].latency_ms: must be a mapping"),
            ({"constraints": [{}]}, "constraints[0]: must not be empty, but got {}."),
            ({"storage": "sqlite://"}, "storage: 'sqlite://' is lost when the command ends; write"),
            (
                {"tracking": "foo://x"},
                "tracking: must be a database (sqlite:///mlflow.db) or a tracking server",
            ),
            (
                {"data": {}},
                "data.train: give either `data.source` (a built-in source) or `data.train` (a file"
                "), and one of them only, but got none.",
            ),
            ({"data": {"source": "docstrings", "train": "a"}}, "one of them only, but got both."),
            (
                {"data": {"source": "docstrings", "validation": "v.csv"}},
                "data.validation: goes with `data.train`, but got 'v.csv'",
            ),
        ],
    )
    def test_a_wrong_value_gets_one_message_with_key_rule_and_value(
        self, problems, changes, message
    ):
        (found,) = problems(**changes)
        assert message in found

    def test_all_problems_are_told_at_once(self, problems):
        found = problems(
            "budget.trials=0",
            drop=["name"],
            data={"source": "docstrings", "train": "a.csv", "rows": "x"},
            space={"rank": [0], "insertion": "window", "learning_rate": {"low": 2, "high": 1}},
            objectives=[{"minimize": "accuracy"}, {"minimize": "speed"}],
            constraints=[{"speed": {"max": 1}}],
            baselines=["none"],
            sampler="tp",
            pruner="halving",
            tracking="mlruns",
            extra=1,
        )
        keys = [line.partition(":")[0] for line in found]
        assert sorted(keys) == sorted(
            [
                "budget.trials",
                "name",
                "data.train",
                "data.rows",
                "space.rank[0]",
                "space.insertion",
                "space.learning_rate.high",
                "objectives",
                "objectives",
                "constraints[0]",
                "baselines[0]",
                "sampler",
                "pruner",
                "tracking",
                "extra",
            ]
        )


RICH = VALID | {
    "data": {"train": "a.csv", "text": "t", "label": "l", "max_length": 32, "rows": 9},
    "space": {
        "depth": [1, 2],
        "insertion": ["all", "last"],
        "roles": ["query", "ffn"],
        "kinds": ["lora", "bottleneck"],
        "rank": [2, 4],
        "alpha": 8.0,
        "pooling": ["mean"],
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "head_learning_rate": 1e-2,
    },
    "objectives": [{"maximize": "accuracy"}, {"minimize": "inference_gflops"}],
    "constraints": [{"trainable_params": {"max": 500_000}}],
    "budget": {"trials": 6, "epochs": 2, "minutes": 3.5},
    "training": {"batch_size": 8},
    "baselines": ["head_only"],
    "sampler": "tpe",
    "pruner": "none",
    "workers": 1,
    "seed": 0,
    "storage": "sqlite:///a.db",
    "tracking": "sqlite:///m.db",
    "artifacts": "weights",
}


def _paths(value, path=()):
    """Every place in nested data, the top included."""
    if isinstance(value, dict):
        below = list(value.items())
    else:
        below = list(enumerate(value)) if isinstance(value, list) else []
    return [path, *(p for key, part in below for p in _paths(part, (*path, key)))]


PATHS = [path for path in _paths(RICH) if path]
WORDS = st.sampled_from(
    ["", "all", "free", "lora", "maximize", "~nobody/x", "\0", "a" * 5000, "[key]"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | WORDS
    | st.text(max_size=6)
    | st.dates()
    | st.binary(max_size=3)
)
KEYS = (
    WORDS
    | st.text(max_size=4)
    | st.sampled_from(["rank", "name", "low", "<range>"])
    | st.integers()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw):
    """The rich study with one to three places replaced, removed or added to."""
    content = copy.deepcopy(RICH)
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(PATHS))
        place = content
        try:
            for key in parents:
                place = place[key]
            match draw(st.sampled_from(["replace", "remove", "add"])):
                case "replace":
                    place[last] = draw(VALUES)
                case "remove":
                    del place[last]
                case "add":
                    place[draw(KEYS)] = draw(VALUES)
        except (LookupError, TypeError):
            continue  # An earlier change took the place away.
    return content


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "study.yaml"

    def run(content, *overrides):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        try:
            study = load_study_file(path, overrides)
        except UserError as error:
            assert error.problems
            assert all(problem.strip() for problem in error.problems)
            assert len(set(error.problems)) == len(error.problems)
            assert str(error).encode("utf-8")
            return None
        assert isinstance(study, StudySpec)
        return study

    return run


class TestFuzz:
    """Whatever a file holds: a study, or messages that can be printed."""

    def test_the_study_that_is_mutated_is_valid(self, read):
        assert read(yaml.safe_dump(RICH)) is not None

    @settings(max_examples=1000, deadline=None)
    @given(content=mutated())
    def test_a_mutated_study_is_read_or_refused(self, read, content):
        study = read(yaml.safe_dump(content))
        assert study is None or read(study.to_yaml()) == study

    @settings(max_examples=500, deadline=None)
    @given(path=st.sampled_from(PATHS), text=st.text(max_size=20) | VALUES.map(repr))
    def test_a_random_override_is_read_or_refused(self, read, path, text):
        override = ".".join(map(str, path)) + f"={text}"
        study = read(yaml.safe_dump(RICH), override)
        assert study is None or study.task == "text-classification"

    @settings(max_examples=500, deadline=None)
    @given(
        text=st.text(alphabet="ab:-[]{}&*!|>#'\"%@,?\n\t 019.~<", max_size=40)
        | st.text(max_size=30).filter(lambda t: t.isprintable())
    )
    def test_a_random_text_is_refused(self, read, text):
        assert read(text) is None

    @settings(max_examples=200, deadline=None)
    @given(content=st.binary(max_size=30))
    def test_random_bytes_are_refused(self, read, content):
        assert read(content) is None


class TestSchema:
    def test_the_schema_that_we_ship_is_current(self):
        shipped = (STUDIES / "study.schema.json").read_text(encoding="utf-8")
        assert shipped == schema(), "run: python -m search.study_file > studies/study.schema.json"

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
        assert {"pareto-halving", "none"} == set(properties["pruner"]["enum"])

    @pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.name)
    def test_a_study_file_that_we_ship_names_the_schema(self, path):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=study.schema.json"
