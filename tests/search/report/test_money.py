"""Money and energy against cases that were reckoned by hand."""

import pytest

from search.report.money import load, spent
from search.study_sections import Costs

RENTED = Costs(currency="EUR", machine_hour=2.0)
OWN = Costs(currency="EUR", watts=500, electricity_kwh=0.4, carbon_g_kwh=300)
BOTH = Costs(
    currency="EUR",
    machine_hour=2.0,
    watts=500,
    electricity_kwh=0.4,
    carbon_g_kwh=300,
    requests_day=360_000,
)


def test_hours_of_a_rented_machine_cost_its_price():
    found = spent(3.0, RENTED)
    assert (found.money, found.energy_kwh, found.carbon_kg) == (6.0, None, None)


def test_hours_of_an_own_machine_cost_its_electricity():
    # 3 h x 500 W = 1.5 kWh; x 0.40 EUR = 0.60 EUR; x 300 g = 450 g.
    found = spent(3.0, OWN)
    assert found.energy_kwh == pytest.approx(1.5)
    assert found.money == pytest.approx(0.6)
    assert found.carbon_kg == pytest.approx(0.45)


def test_both_prices_add_up():
    assert spent(3.0, BOTH).money == pytest.approx(6.6)


def test_power_alone_gives_energy_and_no_money():
    found = spent(10.0, Costs(watts=100))
    assert (found.energy_kwh, found.money, found.carbon_kg) == (1.0, None, None)


def test_nothing_given_gives_nothing_but_hours():
    found = spent(10.0, Costs())
    assert (found.hours, found.money, found.energy_kwh, found.carbon_kg) == (10.0, None, None, None)


def test_a_day_and_a_year_of_requests():
    # 360,000 x 100 ms = 36,000 s = 10 h a day, on one machine.
    # A day: 10 h x 2 EUR + 5 kWh x 0.40 EUR = 22 EUR. A year: 365 x 22 = 8,030 EUR, 1,825 kWh,
    # 547.5 kg. Always on: 24 x 365 x 2 = 17,520 EUR, and 1,825 kWh x 0.40 = 730 EUR.
    found = load(100.0, BOTH)
    assert found.busy_hours_a_day == pytest.approx(10.0)
    assert found.machines == 1
    assert found.day.money == pytest.approx(22.0)
    assert found.year.money == pytest.approx(8030.0)
    assert found.year.energy_kwh == pytest.approx(1825.0)
    assert found.year.carbon_kg == pytest.approx(547.5)
    assert found.always_on_year == pytest.approx(18_250.0)


@pytest.mark.parametrize(("request_ms", "machines"), [(1.0, 1), (240.0, 1), (241.0, 2), (500.0, 3)])
def test_machines_are_as_many_as_a_day_needs(request_ms, machines):
    # One machine answers 24 h x 3,600 s = 86,400 s of requests a day: 240 ms each at this load.
    assert load(request_ms, BOTH).machines == machines


def test_no_load_was_given():
    assert load(100.0, RENTED) is None


def test_a_load_without_prices_gives_hours_alone():
    found = load(100.0, Costs(requests_day=36_000))
    assert found.busy_hours_a_day == pytest.approx(1.0)
    assert found.day.money is found.year.energy_kwh is found.always_on_year is None
