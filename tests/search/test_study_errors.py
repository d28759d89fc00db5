"""A study file that is wrong: each problem gets one message, and all are told at once."""

import pytest
import yaml

from search.study_file import load_study_file
from space.errors import UserError
from tests.search.valid_study import VALID


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


class TestSet:
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
            (
                {"spcae": {}},
                "spcae: unknown key. Did you mean `space` or `cache`? The keys here are",
            ),
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
            ({"workers": 0}, "workers: must be at least 1, but got 0."),
            ({"workers": 1.5}, "workers: must be a whole number, but got 1.5."),
            ({"workers": "all"}, "workers: must be a whole number, or auto, but got 'all'."),
            ({"engine": {"cores": 0}}, "engine.cores: must be at least 1, but got 0."),
            ({"engine": {"gpus": 0}}, "engine.gpus: must be greater than 0"),
            ({"engine": {"memory_gib": -1.0}}, "engine.memory_gib: must be greater than 0"),
            (
                {"engine": {"ray": "ray.example.org"}},
                "engine.ray: must be auto, for the cluster that this machine belongs to, or its"
                " address as host:port, such as 10.0.0.1:6379, but got 'ray.example.org'.",
            ),
            ({"engine": {"core": 1}}, "engine.core: unknown key"),
            ({"data": {"train": "a", "rows": "all"}}, "data.rows: must be a whole number, but got"),
            ({"data": {"train": "a", "rows": 0}}, "data.rows: must be at least 1, but got 0."),
            ({"data": {"train": "a", "max_length": 1}}, "data.max_length: must be at least 4"),
            (
                {"data": {"train": "a", "validation_share": 1}},
                "data.validation_share: must be at most",
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
            ({"space": {"experts": [0]}}, "space.experts[0]: must be at least 1, but got 0."),
            ({"space": {"experts": 4}}, "space.experts: must be a list, but got 4."),
            ({"space": {"top_k": [1, 0]}}, "space.top_k[1]: must be at least 1, but got 0."),
            ({"space": {"token_keep": [0]}}, "space.token_keep[0]: must be greater than 0"),
            ({"space": {"token_keep": [1.5]}}, "space.token_keep[0]: must be at most 1.0, but got"),
            ({"space": {"router": []}}, "space.router: must not be empty, but got []."),
            ({"space": {"skip_layers": "last"}}, "space.skip_layers: must be a list, but got"),
            ({"space": {"exits": "middle"}}, "space.exits: must be a list, but got 'middle'."),
            (
                {"space": {"granularity": "block"}},
                "space.granularity: 'block' is unknown; the names are global, group, layer, coarse",
            ),
            (
                {"space": {"scaling": "alpha/sqrt"}},
                "space.scaling: 'alpha/sqrt' is unknown; the names are alpha/rank,"
                " alpha/sqrt(rank). Did you mean `alpha/sqrt(rank)`",
            ),
            (
                {"training": {"exit_tolerance": -0.1}},
                "training.exit_tolerance: must be at least 0.0, but got -0.1.",
            ),
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
                "task: 'text-clasification' is unknown; the names are text-classification,",
            ),
            (
                {"sampler": "nsga"},
                "sampler: 'nsga' is unknown; the names are tpe, nsga2, nsga3, gp,",
            ),
            ({"sampler": "nsga"}, "Did you mean `nsga3` or `nsga2`?"),
            ({"pruner": "pareto-halfing"}, "Did you mean `pareto-halving` or `accuracy-halving`?"),
            (
                {"pruner": "median"},
                "pruner: 'median' is unknown; the names are pareto-halving, accuracy-halving,",
            ),
            (
                {"pruning": {"reduction": 1}},
                "pruning.reduction: must be at least 2, but got 1.",
            ),
            (
                {"pruning": {"first_rung": 0}},
                "pruning.first_rung: must be greater than 0.0, but got 0.",
            ),
            (
                {"pruning": {"eta": 3}},
                "pruning.eta: unknown key. The keys here are reduction, first_rung, min_peers,",
            ),
            (
                {"starting_points": ["top_layer"]},
                "starting_points[0]: 'top_layer' is unknown; the names are top_layers,",
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


def test_unknown_keys_are_named_as_they_were_written(problems):
    told = problems(**{"": 1, "<range>": 2, "budget": {"trials": 3, "<word>": 4}})
    keys = [line.partition(": unknown key.")[0] for line in told]
    assert sorted(keys) == ["''", "<range>", "budget.<word>"]
