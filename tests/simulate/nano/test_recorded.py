"""Runs, luminosity blocks and event numbers."""

import numpy as np
import pytest

from af_kit.simulate.nano import recorded
from af_kit.simulate.nano.campaigns import YEARS, campaign


def together(number, files, entries):
    parts = [number(index, entries) for index in range(files)]
    names = ("run", "luminosityBlock", "event")
    return np.stack([np.concatenate([part[name] for part in parts]).astype(np.uint64) for name in names])


@pytest.mark.parametrize("year", YEARS)
def test_numbers_of_data_are_unique_and_reach_every_run(year):
    of_year = campaign(year)
    numbers = together(lambda index, entries: recorded.numbers(of_year, 0, entries, file_index=index), 3, 5000)
    assert np.unique(numbers, axis=1).shape[1] == 15_000
    assert set(numbers[0]) == {run for run, _, _ in of_year.runs}
    assert (numbers[2] > 2**32).all()  # event numbers of real data do not fit 32 bits
    blocks = np.unique(numbers[:2], axis=1).T
    certified = recorded.golden_json(of_year)
    good = [any(low <= lumi <= high for low, high in certified[str(run)]) for run, lumi in blocks.tolist()]
    assert 0.85 < np.mean(good) < 0.98


def test_numbers_of_simulation_are_unique():
    numbers = together(lambda index, entries: recorded.simulated_numbers(0, entries, file_index=index), 3, 5000)
    assert np.unique(numbers, axis=1).shape[1] == 15_000
    assert set(numbers[0]) == {1}


def test_numbers_continue_from_block_to_block():
    whole = recorded.numbers(campaign(2018), 0, 100, file_index=2)
    rest = recorded.numbers(campaign(2018), 60, 40, file_index=2)
    assert all((whole[name][60:] == rest[name]).all() for name in whole)


def test_run_periods_of_2018():
    runs = np.array([run for run, _, _ in campaign(2018).runs])
    assert recorded.period(runs).tolist() == [0, 1, 2, 3, 3]
