"""Whatever a study file or an override holds: a study, or messages that can be printed."""

import copy

import pytest
import yaml
from hypothesis import strategies as st

from search.study_file import StudySpec, load_study_file
from space.errors import UserError
from tests.fuzzing import broken, check_all, inputs
from tests.search.valid_study import VALID
from trainers.tasks import TASKS

RICH = VALID | {
    "data": {"train": "a.csv", "text": "t", "label": "l", "max_length": 32, "rows": 9},
    "space": {
        "depth": [1, 2],
        "insertion": ["all", "last"],
        "roles": ["query", "ffn"],
        "kinds": ["lora", "bottleneck"],
        "rank": [2, 4],
        "alpha": 8.0,
        "granularity": "group",
        "scaling": "alpha/rank",
        "experts": [1, 4],
        "top_k": [1, 2],
        "router": ["token"],
        "token_keep": [1.0, 0.5],
        "skip_layers": ["last"],
        "exits": ["none"],
        "pooling": ["mean"],
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "head_learning_rate": 1e-2,
    },
    "objectives": [{"maximize": "accuracy"}, {"minimize": "inference_gflops"}],
    "constraints": [{"trainable_params": {"max": 500_000}}],
    "budget": {"trials": 6, "epochs": 2, "minutes": 3.5},
    "training": {"batch_size": 8, "exit_tolerance": 0.01},
    "baselines": ["head_only"],
    "sampler": "tpe",
    "pruner": "none",
    "pruning": {"reduction": 3, "first_rung": 0.5, "min_peers": 2, "patience": 1, "resume": True},
    "starting_points": ["top_layers"],
    "workers": 1,
    "engine": {"ray": None, "cores": 1, "gpus": 0.5, "memory_gib": 2.0},
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

    @inputs(500, 18_000)
    def test_a_mutated_study_is_read_or_refused(self, read, n_inputs):
        def check(content):
            study = read(yaml.safe_dump(content))
            assert study is None or read(study.to_yaml()) == study

        check_all(n_inputs, mutated(), check)

    @inputs(200, 12_000)
    def test_a_random_override_is_read_or_refused(self, read, n_inputs):
        rich = yaml.safe_dump(RICH)

        def check(override):
            study = read(rich, override)
            assert study is None or study.task in TASKS

        key = st.sampled_from(PATHS).map(lambda path: ".".join(map(str, path)))
        key |= st.text(alphabet="ab.=[]0 \n\0é", max_size=12)
        value = st.text(max_size=20) | VALUES.map(repr)
        check_all(n_inputs, st.builds("{}={}".format, key, value) | st.text(max_size=20), check)

    @inputs(300, 20_000)
    def test_a_broken_text_is_read_or_refused(self, read, n_inputs):
        def check(content):
            study = read(content)
            assert study is None or study.task in TASKS

        check_all(n_inputs, broken(st.just(yaml.safe_dump(VALID).encode())), check)

    @inputs(300, 5_000)
    def test_a_random_text_is_refused(self, read, n_inputs):
        def check(text):
            assert read(text) is None

        yaml_like = st.text(alphabet="ab:-[]{}&*!|>#'\"%@,?\n\t 019.~<", max_size=40)
        check_all(n_inputs, yaml_like | st.text(max_size=30).filter(str.isprintable), check)

    @inputs(200, 2_000)
    def test_random_bytes_are_refused(self, read, n_inputs):
        def check(content):
            assert read(content) is None

        check_all(n_inputs, st.binary(max_size=30), check)
