"""What breaks one trial or one file breaks no study: plain Optuna and MLflow see which, and why."""

import math
import os

import optuna
from optuna.trial import TrialState

from tests.end_to_end.tiny_study import messages, paradapt
from tests.end_to_end.worker_study import (
    check_complete,
    check_mlflow,
    trial_runs,
    trials_of,
    write_worker_study,
)


def storage(folder):
    return f"sqlite:///{folder / 'paradapt.db'}"


def searched(folder, *words, name="topics"):
    """Run the command to its end, which is a good one; return its lines of standard error."""
    done = paradapt("search", "study.yaml", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"The study {name!r} is finished" in done.stdout
    assert messages(done.stderr) == []
    return done.stderr.splitlines()


def test_a_loss_that_is_not_finite_fails_its_trial_alone(tmp_path):
    rates = {"low": 1e-3, "high": 1e30, "log": True}
    write_worker_study(
        tmp_path,
        n_rows=60,
        space={"depth": [1, 2], "rank": [2, 4], "learning_rate": rates},
        budget={"trials": 8, "epochs": 2},
        sampler="random",
        baselines=["head_only"],
    )
    lines = searched(tmp_path)
    trials = trials_of(storage(tmp_path))
    failed = [trial for trial in trials if trial.user_attrs["end"] == "failed"]
    assert failed
    for trial in failed:
        assert trial.state == TrialState.FAIL and trial.values is None
        rate = trial.user_attrs["learning"]["learning_rate"]
        reason = trial.user_attrs["reason"]
        assert "loss became" in reason and reason.endswith(f"the learning rate was {rate}")
        assert any(f"trial {trial.number} failed" in line and reason in line for line in lines)
        assert "history" not in trial.user_attrs
    check_complete(trials, 8 - len(failed))
    for trial in trials:
        if trial not in failed:
            assert all(map(math.isfinite, trial.values))
    study = optuna.load_study(study_name="topics", storage=storage(tmp_path))
    assert not {t.number for t in study.best_trials} & {t.number for t in failed}

    check_mlflow(tmp_path, trials)
    for number, run in trial_runs(tmp_path).items():
        broken = trials[number] in failed
        assert run.info.status == ("FAILED" if broken else "FINISHED")
        assert ("accuracy" in run.data.metrics) != broken
        assert all(map(math.isfinite, run.data.metrics.values()))
        assert run.data.tags.get("paradapt.reason") == trials[number].user_attrs.get("reason")


def cached(folder):
    found = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.states")}
    assert len(found) >= 4  # two boundaries, of training rows and of validation rows
    return found


def flip(folder):
    """Change one bit in the middle of every file; sizes and times stay."""
    for path in folder.rglob("*.states"):
        before = path.stat()
        with path.open("r+b") as file:
            file.seek(before.st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 0x40]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def losses(trials):
    """The losses of each training; an equal trial has none of its own."""
    return [
        [epoch["validation_loss"] for epoch in trial.user_attrs["history"]]
        for trial in trials
        if "same_as" not in trial.user_attrs
    ]


def test_a_corrupt_cache_is_told_and_computed_anew(tmp_path):
    write_worker_study(
        tmp_path,
        n_rows=120,
        n_trials=5,
        space={"depth": [2], "rank": [2, 4, 8], "insertion": ["last"]},
        training={"batch_size": 16, "precision": "float32"},
    )
    cache, names = tmp_path / "cache", ("topics", "second")
    assert not any("is broken" in line for line in searched(tmp_path))
    sound = cached(cache)
    flip(cache)
    assert all(content != sound[name] for name, content in cached(cache).items())
    lines = searched(tmp_path, "--set", "name=second", name="second")
    told = [line for line in lines if "is broken (its checksum is wrong)" in line]
    assert len(told) == len(sound)
    for name in sound:
        assert any(f"{cache / name} is broken" in line for line in told)
    assert cached(cache) == sound

    first, second = (trials_of(storage(tmp_path), name) for name in names)
    check_complete(second, 5)
    assert [trial.params for trial in second] == [trial.params for trial in first]
    assert [trial.values for trial in second] == [trial.values for trial in first]
    assert losses(second) == losses(first)
    assert {run.info.status for run in trial_runs(tmp_path, "second").values()} == {"FINISHED"}
