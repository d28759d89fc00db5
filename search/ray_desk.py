"""The desk that workers report to, on whatever machine they are: an actor of Ray's.

It decides nothing: what it is told it keeps until the loop of the study takes it, and a worker that
asks whether its trial goes on waits here for the loop's answer. It loads nothing heavy.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

TAKE_S = 0.5
"""How long the loop waits here, at most, for news."""


@dataclass(kw_only=True)
class News:
    """What was told since the loop asked last."""

    reports: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """(trial, what a validation gave); each waits for an answer."""
    ticks: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Trial -> (steps done, steps in all), the latest."""
    notices: list[str] = field(default_factory=list)
    """Sentences for the user."""


class Desk:
    """The desk; its methods run side by side."""

    def __init__(self) -> None:
        self._news = News()
        self._answers: dict[tuple[int, float], asyncio.Future[bool]] = {}
        self._told = asyncio.Event()

    async def report(self, number: int, epoch: dict[str, float]) -> bool:
        """Hand in what a validation gave; return, once that is decided, whether to go on."""
        self._news.reports.append((number, epoch))
        self._told.set()
        goes_on = await self._answer(number, epoch["epoch"])
        self._answers.pop((number, epoch["epoch"]), None)
        return goes_on

    async def answer(self, number: int, epoch: float, goes_on: bool) -> None:
        """Say whether the trial that reported goes on."""
        answer = self._answer(number, epoch)
        if not answer.done():
            answer.set_result(goes_on)

    async def tick(self, number: int, n_done: int, n_steps: int) -> None:
        """Say how far a trial is."""
        self._news.ticks[number] = (n_done, n_steps)
        self._told.set()

    async def tell(self, notice: str) -> None:
        """Say something to the user."""
        self._news.notices.append(notice)
        self._told.set()

    async def take(self) -> News:
        """Return the news, as soon as there are any."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), TAKE_S)
        self._told.clear()
        news, self._news = self._news, News()
        return news

    def _answer(self, number: int, epoch: float) -> "asyncio.Future[bool]":
        # Who asks anew, because this process was killed meanwhile, has the same answer.
        key = (number, epoch)
        if key not in self._answers:
            self._answers[key] = asyncio.get_running_loop().create_future()
        return self._answers[key]
