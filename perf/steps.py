"""Steps of a long run: in order of value, each for so many seconds at most, within one budget for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .records import Run

State: TypeAlias = Literal["done", "incomplete", "failed", "skipped"]
Outcome: TypeAlias = "tuple[State, str]"  # and what to say of it
LEAST = 5.0  # seconds; with less left a step is not begun


class Deadline:
    """Until when a step may run.

    >>> Deadline(10.0, now=lambda: 3.0).left()
    10.0
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.end = now() + seconds

    def left(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.end - self._now())

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and one in so many seconds."""
        return Deadline(min(seconds, self.left()), self._now)


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: as options and the report call it.
        most: seconds that it may take.
        run: (deadline) → outcome. It ends itself by the deadline; what it raises makes it "failed".
    """

    name: str
    most: float
    run: Callable[[Deadline], Outcome]


def run_steps(steps: Sequence[Step], budget: Deadline, run: Run, say: Callable[[str], object] = print) -> bool:
    """Run the steps while time is left, with each one's outcome in `run`; False if one failed.

    >>> import torch
    >>> steps = [Step("one", 60, lambda deadline: ("done", "2 of 2")), Step("two", 60, lambda deadline: 1 / 0)]
    >>> found = Run.begin("gpu", torch.device("cpu"))
    >>> run_steps(steps, Deadline(60), found, say=lambda text: None)
    False
    >>> [(step["state"], step["detail"]) for step in found.steps]
    [('done', '2 of 2'), ('failed', 'ZeroDivisionError: division by zero')]

    A step that the user interrupts ends the run with what there is.
    """
    good = True
    for step in steps:
        begun = time.monotonic()
        interrupted: BaseException | None = None
        if budget.left() < LEAST:
            state: State = "skipped"
            detail = "no time left"
        else:
            say(f"== {step.name}: {min(step.most, budget.left()):.0f} s at most")
            try:
                state, detail = step.run(budget.within(step.most))
            except Exception as error:  # the other steps still tell something
                state, detail = "failed", f"{type(error).__name__}: {error}".splitlines()[0][:300]
            except KeyboardInterrupt as error:
                state, detail, interrupted = "incomplete", "interrupted", error
        good = good and state != "failed"
        entry: dict[str, Any] = {"name": step.name, "state": state, "detail": detail}
        run.steps.append({**entry, "seconds": round(time.monotonic() - begun, 1)})
        say(f"   {step.name}: {state}, {detail}")
        run.save()
        if interrupted is not None:
            raise interrupted
    return good
