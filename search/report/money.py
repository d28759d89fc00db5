"""Money and energy in closed form: what hours of a machine cost, and how many hours a load takes.

    busy hours a day  = requests a day x milliseconds a request / 3,600,000
    energy (kWh)      = hours x watts / 1000
    price of an hour  = machine_hour + watts / 1000 x electricity_kwh
    CO2 equivalents   = kWh x carbon_g_kwh / 1000   (kg)
    machines          = busy hours a day / 24, rounded up
    always on         = machines x 24 hours of machine_hour, and the electricity of busy hours

Whatever the user gave no price for is left out: None, not zero.
"""

import math
from dataclasses import dataclass

from search.study_sections import Costs

MS_AN_HOUR = 3_600_000
HOURS_A_DAY = 24
DAYS_A_YEAR = 365
_W_A_KW = 1000
_G_A_KG = 1000


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What some hours of the machine come to."""

    hours: float
    money: float | None
    energy_kwh: float | None
    carbon_kg: float | None


@dataclass(frozen=True, kw_only=True)
class Load:
    """What serving all requests takes."""

    busy_hours_a_day: float
    machines: int
    day: Spent
    year: Spent
    always_on_year: float | None
    """Money a year where the machines run day and night."""


def spent(hours: float, costs: Costs) -> Spent:
    """Return what so many busy hours of the machine cost."""
    energy = None if costs.watts is None else hours * costs.watts / _W_A_KW
    parts = []
    if costs.machine_hour is not None:
        parts.append(hours * costs.machine_hour)
    if energy is not None and costs.electricity_kwh is not None:
        parts.append(energy * costs.electricity_kwh)
    carbon = (
        None
        if energy is None or costs.carbon_g_kwh is None
        else energy * costs.carbon_g_kwh / _G_A_KG
    )
    return Spent(
        hours=hours, money=sum(parts) if parts else None, energy_kwh=energy, carbon_kg=carbon
    )


def load(request_ms: float, costs: Costs) -> Load | None:
    """Return what a day's requests take, one after the other; None where no load was given."""
    if costs.requests_day is None:
        return None
    busy = costs.requests_day * request_ms / MS_AN_HOUR
    machines = max(1, math.ceil(busy / HOURS_A_DAY))
    year = spent(DAYS_A_YEAR * busy, costs)
    always_on = None
    if costs.machine_hour is not None:
        always_on = machines * HOURS_A_DAY * DAYS_A_YEAR * costs.machine_hour
        if year.energy_kwh is not None and costs.electricity_kwh is not None:
            always_on += year.energy_kwh * costs.electricity_kwh
    return Load(
        busy_hours_a_day=busy,
        machines=machines,
        day=spent(busy, costs),
        year=year,
        always_on_year=always_on,
    )
