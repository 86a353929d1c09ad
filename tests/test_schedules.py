"""Schedules are the functions of the step that they say they are."""

import math

import pytest

from vaekit.errors import UsageError
from vaekit.training import schedules


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (schedules.constant(3.0), [3.0] * 6),
        (schedules.linear(1.0, 3.0, steps=4), [1.0, 1.5, 2.0, 2.5, 3.0, 3.0]),
        (schedules.cosine(2.0, 0.0, steps=4), [2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5), 0.0, 0.0]),
        (schedules.cyclical(0.0, 1.0, steps=4), [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]),
    ],
)
def test_schedules(schedule, values):
    assert [schedule(step) for step in range(6)] == pytest.approx(values, abs=1e-15)


@pytest.mark.parametrize("make", [schedules.linear, schedules.cosine, schedules.cyclical])
def test_a_schedule_of_no_steps_is_refused(make):
    with pytest.raises(UsageError, match="steps 0: a schedule needs at least one step"):
        make(0.0, 1.0, steps=0)


@pytest.mark.parametrize("ramp", [0.0, 1.5])
def test_a_ramp_outside_its_cycle_is_refused(ramp):
    with pytest.raises(UsageError, match="expected a part of the cycle"):
        schedules.cyclical(0.0, 1.0, steps=4, ramp=ramp)
