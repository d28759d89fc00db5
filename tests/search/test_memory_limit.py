"""Want of memory: what counts as it, and whose fault it is where several trials share a machine."""

import errno
from weakref import ref

import pytest

from search import memory_limit
from search.baselines import BASELINES
from search.job import Failure, Job
from search.memory_limit import AT_ONCE_S, Blame
from search.objectives import known_costs
from search.trial import work
from space.search_space import Learning
from space.spec import AdapterSpec

TORCH = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
MAPPED = RuntimeError("unable to mmap 9 bytes from file <a>: Cannot allocate memory (12)")
SYSTEM = OSError(errno.ENOMEM, "Cannot allocate memory")
NAMES = ["torch", "mapped", "system", "python"]


@pytest.fixture
def specs(context_of):
    """A study, and the structures of its baselines, of which a head alone needs least."""
    context = context_of()
    found = {name: b.build(context.backbone.shape, context.space) for name, b in BASELINES.items()}
    assert len(found) == 3
    return context, found


@pytest.fixture
def train(specs):
    """Return a function that trains a head as a worker does."""
    context, found = specs
    spec = found["head_only"]
    job = Job(
        number=0,
        spec=spec,
        learning=Learning(learning_rate=None, head_learning_rate=1e-2),
        costs=known_costs(spec, context.cost),
        rungs=(),
        resume=None,
        checkpoint=None,
        began_s=0.0,
    )
    return lambda: work(context, job, lambda _: True, lambda *_: None)


@pytest.mark.parametrize("error", [TORCH, MAPPED, SYSTEM, MemoryError("none")], ids=NAMES)
@pytest.mark.parametrize("where", ["training.StudyContext.model_of", "trial.measure_latency"])
def test_it_fails_the_trial_wherever_it_shows(train, monkeypatch, where, error):
    def none_left(*_, **__):
        raise error

    monkeypatch.setattr(f"search.{where}", none_left)
    outcome = train()
    assert isinstance(outcome, Failure) and outcome.out_of_memory
    assert outcome.reason == f"no memory left ({error})"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), RuntimeError("no")], ids=["a", "b"]
)
def test_other_faults_are_not_taken_for_it(train, monkeypatch, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr("search.trial.measure_latency", broken)
    with pytest.raises(type(error)) as caught:
        train()
    assert caught.value is error


def test_what_a_large_trial_held_is_given_back_at_its_end(train, monkeypatch):
    seen = []
    monkeypatch.setattr("search.trial.save_weights", lambda model, *_: seen.append(ref(model)))
    monkeypatch.setattr("search.trial.MUCH_MIB", 0)
    assert not isinstance(train(), Failure)
    assert seen[0]() is None


class TestBlame:
    def test_who_trained_alone_has_it(self, specs):
        context, found = specs
        assert Blame(context.cost).lies_with(found["head_only"], [])

    def test_who_surely_needed_most_has_it(self, specs):
        context, found = specs
        blame = Blame(context.cost)
        assert not blame.lies_with(found["head_only"], [found["lora_all"]])
        assert blame.lies_with(found["lora_all"], [found["head_only"]])

    def test_who_may_have_needed_less_has_not(self, specs):
        context, found = specs
        wide, deep = found["bottleneck_all"], AdapterSpec(depth=2)
        assert not Blame(context.cost).lies_with(deep, [wide])

    def test_those_that_were_ended_together_are_compared(self, specs, monkeypatch):
        context, found = specs
        clock = [100.0]
        monkeypatch.setattr(memory_limit.time, "monotonic", lambda: clock[0])
        blame = Blame(context.cost)
        assert blame.lies_with(found["lora_all"], [found["head_only"]])
        clock[0] += AT_ONCE_S / 2
        assert not blame.lies_with(found["head_only"], [])  # its worker was replaced meanwhile
        clock[0] += AT_ONCE_S
        assert blame.lies_with(found["head_only"], [])
