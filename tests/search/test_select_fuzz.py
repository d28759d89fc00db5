"""Whatever `--select` says: a trial of the study, or a message that can be printed."""

from hypothesis import strategies as st
from optuna.study import StudyDirection

from search.selection import select
from space.errors import UserError
from tests.fuzzing import check_all, inputs
from tests.search.finished_study import DIRECTIONS, finished_trials

NAMES = ("accuracy", "inference_gflops")
NUMBERS = ("0", "1", "7", "999", "-1", "0.5", "1e-3", "1e999", "-inf", "nan", "1_0", "0x1", "80%")
ODD = ("\u00b2", "\u0663", "\uff11", "9" * 5000, "\0", " ", "\n", "\u2028", "(", "'", "\ud800")
WORDS = (*NAMES, "knee", "trial:", "trial", "trainable_params", ":", "<=", ">=", "<", "=", ",", "%")
PARTS = st.sampled_from((*WORDS, *NUMBERS, *ODD))
CHOICES = st.lists(PARTS | st.text(max_size=3), max_size=9).map("".join)
CHOICES |= st.sampled_from((*NUMBERS, *ODD)).map("trial:{}".format)


@inputs(400, 18_000)
def test_a_choice_is_a_trial_or_refused(n_inputs):
    trials = finished_trials()
    directions = [StudyDirection[way.upper()] for way in DIRECTIONS]

    def check(choice):
        try:
            trial = select(trials, directions, NAMES, choice)
        except UserError as error:
            assert error.problems
            assert all(problem.strip() for problem in error.problems)
            return
        assert trial in trials
        assert trial.user_attrs["end"] == "complete"

    check_all(n_inputs, CHOICES, check)
