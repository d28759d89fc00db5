"""One training of `confirm`: of every task, of exits, and without a trace on what is shared."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from search.confirm_full_rate import choose_full_rate
from search.confirm_points import Point, compared_metric
from search.confirm_training import open_sealed, score_full_rate, train_point
from search.context import prepare
from search.plain_twin import plain_twin
from search.references import FULL, TFIDF
from search.row_sums import ROW_METRICS
from search.study_file import load_study_file
from space.adapter import Adapter
from space.cost import TokenStats
from space.spec import AdapterSpec
from tests.end_to_end.task_studies import STUDIES, write_task_study
from tests.end_to_end.tiny_study import write_rows
from tests.search.confirmed_study import memory_study
from tests.search.finished_study import trial_of
from trainers.backbone import fingerprint
from trainers.tfidf import serves

LEARNING = {"learning_rate": 3e-3, "head_learning_rate": 1e-2}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def point_of(spec, **attrs):
    trial = trial_of((0.5, 0.1), spec=spec, **attrs)
    trial.user_attrs["learning"] = LEARNING
    return Point(key="trial-0", title="trial 0", trial=trial)


def reference(name):
    return Point(key=name, title=name, trial=None)


def train(shared, point, seed=1):
    return train_point(shared, point, seed, lambda *_: None)


def lora(*layers):
    adapters = (Adapter(layer=n, role="query", kind="lora", rank=2, alpha=4.0) for n in layers)
    return AdapterSpec(depth=2, adapters=tuple(adapters))


@pytest.mark.parametrize("name", STUDIES)
def test_points_of_every_task_are_trained_and_scored(tmp_path, name):
    path = write_task_study(name, tmp_path)
    share = ["data.test_share=0.25"]
    context = prepare(load_study_file(path, share), tmp_path, stage=lambda _: None)
    shared = replace(open_sealed(context), full_rate=5e-5)
    assert len(shared.context.train) == 36 and len(shared.context.validation) == 12
    before = fingerprint(context.backbone.model, lm_head=context.backbone.lm_head)
    metric = compared_metric(context.study)
    for point in (point_of(lora(1)), reference(FULL)):
        run = train(shared, point)
        assert set(context.task.metrics) - {"validation_loss"} <= run.metrics.keys()
        how = ROW_METRICS[metric]
        assert len(next(iter(run.outcomes.values()))) == 12
        made = float(how.value(how.columns(run.outcomes).sum(axis=0)))
        assert run.metrics[metric] == pytest.approx(made, abs=1e-5, rel=1e-5)
        json.dumps(run.to_json(), allow_nan=False)
    assert fingerprint(context.backbone.model, lm_head=context.backbone.lm_head) == before
    assert serves(context.task) == (name == "classes-of-texts")


@pytest.fixture
def shared(context_of, tmp_path):
    write_rows(tmp_path / "test.csv", 30, seed=5)
    data = {"train": "rows.csv", "test": "test.csv", "max_length": 32}
    return replace(open_sealed(context_of(data=data)), full_rate=5e-5)


def test_all_rows_of_the_study_are_trained_on(shared, context_of):
    assert len(shared.context.train) == 45 and len(shared.context.validation) == 30
    assert shared.context.cost.tokens == context_of().cost.tokens  # costs are those of the search


def test_the_same_seed_gives_the_same_and_another_gives_another(shared):
    first, again, other = (train(shared, point_of(lora(0, 1)), seed) for seed in (1, 1, 2))
    assert first.metrics["test_loss"] == again.metrics["test_loss"]
    assert first.metrics["test_loss"] != other.metrics["test_loss"]
    assert (first.seed, other.seed) == (1, 2)


def test_a_prefix_from_the_cache_gives_what_running_it_gives(shared):
    without = replace(shared, context=replace(shared.context, store=None))
    runs = [train(own, point_of(lora(1))) for own in (shared, without)]
    losses = [run.metrics["test_loss"] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 2.0])
def test_rows_leave_early_at_the_threshold_that_the_search_chose(shared, threshold):
    spec = replace(lora(0), exits=(1,))
    run = train(shared, point_of(spec, exit_threshold=threshold))
    cost = shared.context.cost
    behind = cost.gflops_behind(spec)
    if threshold > 1:
        assert run.metrics["inference_gflops"] == pytest.approx(behind[1])
    else:
        lengths = TokenStats.of(shared.context.validation.lengths.tolist())
        first, last = replace(cost, tokens=lengths).gflops_behind(spec)
        assert run.metrics["inference_gflops"] == pytest.approx(behind[1] * first / last)


def test_a_plain_counterpart_has_as_many_parameters_and_no_expert(shared):
    sparse = Adapter(
        layer=1, role="query", kind="lora", rank=2, alpha=4.0, experts=4, top_k=1, router="token"
    )
    own = point_of(AdapterSpec(depth=2, adapters=(sparse,)))
    plain = Point(key="trial-0-plain", title="plain", trial=None, plain_of=own.trial)
    sizes = [train(shared, point).metrics["trainable_params"] for point in (own, plain)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.15)
    (adapter,) = plain_twin(
        AdapterSpec(depth=2, adapters=(sparse,)), shared.context.backbone.shape
    ).adapters
    assert adapter.experts == 1 and adapter.rank > sparse.rank and adapter.layer == 1


def test_full_fine_tuning_leaves_the_shared_weights_bit_for_bit(shared):
    backbones = [shared.context.backbone, *shared.context.prepared.values()]
    before = [{k: v.clone() for k, v in b.model.state_dict().items()} for b in backbones]
    run = train(shared, reference(FULL))
    assert run.metrics["trainable_params"] > 20_000
    for backbone, state in zip(backbones, before, strict=True):
        after = backbone.model.state_dict()
        assert all(torch.equal(after[name], tensor) for name, tensor in state.items())
        assert not any(p.requires_grad for p in backbone.model.parameters())


class TestFullRate:
    @pytest.fixture
    def tried(self, monkeypatch):
        """Scores of the rates, and which of them were trained."""
        scores, trained = {2e-5: 0.5, 5e-5: 0.7, 1e-4: 0.6}, []

        def score(_context, rate, _metric, _tick):
            trained.append(rate)
            return scores[rate]

        monkeypatch.setattr("search.confirm_full_rate.score_full_rate", score)
        return trained

    def choose(self, stored, context):
        return choose_full_rate(stored, context, lambda *_: None, lambda _: None)

    def test_the_best_on_the_validation_rows_is_taken(self, tried, context_of):
        stored = memory_study([])
        assert self.choose(stored, context_of()) == 5e-5
        assert tried == [2e-5, 5e-5, 1e-4]

    def test_of_what_is_minimised_the_least(self, tried, context_of):
        objectives = [{"minimize": "validation_loss"}, {"minimize": "inference_gflops"}]
        context = context_of(objectives=objectives)
        assert compared_metric(context.study) == "accuracy"  # the loss is no sum over rows
        assert self.choose(memory_study([]), context) == 5e-5

    def test_what_is_known_is_not_trained_again(self, tried, context_of):
        stored, context = memory_study([]), context_of()
        stored.set_user_attr("confirm.full_rate.2e-05", 0.9)
        assert self.choose(stored, context) == 2e-5
        assert tried == [5e-5, 1e-4]
        self.choose(stored, context)
        assert tried == [5e-5, 1e-4]

    def test_a_score_is_that_of_the_studys_own_validation_rows(self, context_of):
        score = score_full_rate(context_of(), 1e-4, "accuracy", lambda *_: None)
        assert score == pytest.approx(round(score * 9) / 9, abs=1e-6)  # of nine rows


def test_tfidf_has_the_words_of_the_rows_alone(shared):
    run = train(shared, reference(TFIDF))
    assert run.metrics["accuracy"] > 0.9  # the topics have words of their own
    assert len(run.outcomes["answer"]) == 30
    assert np.isfinite(list(run.metrics.values())).all()


def test_the_test_split_is_left_alone_while_training(shared, monkeypatch):
    """Rows of the test split are made into batches once, after the last step."""
    seen, steps = [], []
    table = shared.context.validation
    collate = type(table).collate

    def noted(self, rows):
        if len(self) == 30:
            seen.append(len(steps))
        return collate(self, rows)

    monkeypatch.setattr(type(table), "collate", noted)
    without = replace(shared, context=replace(shared.context, store=None))
    train_point(without, point_of(lora(0)), 1, lambda n, _: steps.append(n))
    assert seen and set(seen) == {len(steps)}
