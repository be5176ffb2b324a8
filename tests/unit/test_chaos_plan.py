"""The plans of chaos: made from seed and number alone, whole, and of every kind of fault."""

import os
import subprocess
import sys
from pathlib import Path

from faults.chaos.plan import make_plan, worker_of
from faults.chaos.round import UNDOES
from faults.chaos.tally import FAULTS

TESTS = Path(__file__).parents[1]
ROUNDS = range(1, 81)


def test_a_seed_makes_the_same_plan_in_every_process() -> None:
    path = os.pathsep.join([str(TESTS), *sys.path])
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "faults.chaos", "--seed", "9", "--round", "4", "--plan"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed},
        )
        assert done.stdout == make_plan(9, 4).to_json() + "\n"


def test_other_seeds_and_rounds_make_other_plans() -> None:
    plans = [make_plan(seed, number).to_json() for seed in (1, 2) for number in (1, 2)]
    assert len(set(plans)) == 4


def test_a_worker_reads_its_part_as_it_was_planned() -> None:
    for number in ROUNDS:
        plan = make_plan(1, number)
        for index, worker in enumerate(plan.workers):
            assert worker_of(plan.to_json(), index) == worker


def test_every_step_is_about_a_beat_and_a_worker_that_there_are() -> None:
    for number in ROUNDS:
        plan = make_plan(1, number)
        assert plan.steps == sorted(plan.steps, key=lambda step: (step.beat, step.after))
        for step in plan.steps:
            assert step.after >= 0
            assert 0 <= step.worker < len(plan.workers)
            assert 0 <= step.beat <= plan.beats
            is_at_the_end = step.beat == plan.beats
            assert step.do == "kill" or not is_at_the_end, "nobody would undo it"


def test_what_is_frozen_is_thawed() -> None:
    for number in ROUNDS:
        steps = make_plan(1, number).steps
        frozen = [step.whom for step in steps if step.do == "freeze"]
        assert sorted(frozen) == sorted(step.whom for step in steps if step.do == "thaw")


def test_every_kind_of_fault_is_planned_and_has_its_place_in_the_table() -> None:
    planned = {
        (step.do, step.whom.split()[0])
        for number in ROUNDS
        for step in make_plan(1, number).steps
        if step.do not in UNDOES
    }
    assert planned == set(FAULTS)
