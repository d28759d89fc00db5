"""What tells early who will be ahead, on curves whose right answer is known."""

import pytest

from studies.benchmarks.curves import Curve, Curves
from studies.benchmarks.replay import STARTS
from studies.benchmarks.signals import area, better_structures, leads, starting_structures


def curve(cost, early, final):
    """Accuracy and loss after one epoch, and after three."""
    return Curve(
        accuracies={1.0: early[0], 3.0: final[0]},
        losses={1.0: early[1], 3.0: final[1]},
        inference_gflops=cost,
        epoch_gflops=cost,
    )


@pytest.fixture
def curves():
    """Two starting points; of three others one ends ahead, and its loss alone says so early."""
    searched = {
        "shallow": curve(1.0, (0.5, 0.8), (0.6, 0.7)),
        "deep": curve(2.0, (0.6, 0.7), (0.8, 0.5)),
        "late": curve(1.5, (0.4, 0.6), (0.75, 0.5)),
        "early": curve(1.5, (0.58, 0.9), (0.55, 0.9)),
        "poor": curve(0.5, (0.45, 1.0), (0.45, 1.0)),
    }
    return Curves(data="made up", seed=0, searched=searched, checked=searched, reference=(0.4, 2.1))


STARTING = ["shallow", "deep"]


def test_better_is_what_adds_to_the_front_of_the_starting_points(curves):
    assert better_structures(curves, STARTING) == {"late", "poor"}


def test_a_lead_is_over_the_best_start_that_costs_no_more(curves):
    accuracy, loss = (leads(curves, STARTING, 1.0, s) for s in ("accuracy", "validation loss"))
    assert accuracy["late"] == pytest.approx(0.4 - 0.5)
    assert loss["late"] == pytest.approx(0.8 - 0.6)
    assert loss["deep"] == 0
    # Cheaper than all of them: over the worst there is.
    assert accuracy["poor"] == pytest.approx(0.45 - 0.4) and loss["poor"] == 0


def test_the_area_is_how_often_a_better_one_leads_one_that_is_not(curves):
    # Leads by accuracy: late -.1, poor .05 against shallow 0, early .08, deep 0.
    assert area(curves, STARTING, 1.0, "accuracy") == pytest.approx(2 / 6)
    # By loss: late .2, poor 0 against shallow 0, early -.1, deep 0.
    assert area(curves, STARTING, 1.0, "validation loss") == pytest.approx((3 + 2) / 6)


def test_the_starting_points_are_structures_of_the_grid():
    assert len(set(starting_structures())) == len(STARTS) == 6
