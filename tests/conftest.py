"""What every run of the tests has in common: the workers that share it, and hypothesis without a stopwatch."""

import os

import pytest
from hypothesis import HealthCheck, settings

WORKERS_BESIDE_CORES, WORKERS_MAX = 1, 4
"""Tests with real processes wait about as long as they compute; each of them has a whole system, more would starve."""

# A busy machine is no failure: an example is judged by what it finds, never by how long it took.
settings.register_profile("nightdesk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nightdesk")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A whole run is shared by workers; tests that are named on the command line run in this process, one by one."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    return min(len(os.sched_getaffinity(0)) + WORKERS_BESIDE_CORES, WORKERS_MAX)
