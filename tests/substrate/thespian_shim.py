"""A pytest plugin: puts our system base under Thespian's own tests, without a change to its files.

Thespian's test modules take their fixtures from ``thespian.test`` by ``import *``. This plugin is loaded before them
and gives that package other ones: same names, same capabilities, one base. Systems are told apart by a port number
there; here the number is part of the name of the admin's socket.
"""

import itertools
import os
import tempfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import thespian.test
from thespian.actors import ActorAddress, ActorSystem

from supervisors.substrate import MailboxAddress, UnixSystemBase, UnixTransport, clear, prepare
from supervisors.substrate.transport import ADMIN_SOCKET, FOLDER

BASE_NAME = "multiprocUnixBase"
SUITE_FRAME_BYTES_MAX = 128 * 1024 * 1024
"""The suite sends single messages of 50 MB, for which the mailbox has no use."""

CONVENTION = "Convention Address.IPv4"
CAPABILITIES = {"Foo Allowed": True, "Cows Allowed": True, "Dogs Allowed": True, "dog": "food"}

_runtime = tempfile.mkdtemp(prefix="nd-")
_folder = prepare(_runtime)
_ports = itertools.count(10_000)


def _admin_path(port: object) -> str:
    return os.path.join(_folder, f"admin{port}")


class SuiteTransport(UnixTransport):
    """With a limit for the suite's largest messages, and with conventions of several systems in one folder."""

    frame_bytes_max = SUITE_FRAME_BYTES_MAX

    @staticmethod
    def getAddressFromString(text: Any) -> ActorAddress:
        parts = text if isinstance(text, tuple) else text.split(":")
        return ActorAddress(MailboxAddress(_admin_path(parts[1])))

    @staticmethod
    def getConventionAddress(capabilities: dict[str, Any]) -> Any:
        spoken = capabilities.get(CONVENTION)
        if not spoken:
            return None
        spoken = spoken if isinstance(spoken, list) else [spoken]
        return [SuiteTransport.getAddressFromString(one) for one in spoken]


class SuiteBase(UnixSystemBase):
    """The base under test."""

    transportType = SuiteTransport


def start(capabilities: dict[str, Any], port: int) -> Any:
    """An actor system, as Thespian's fixtures make them."""
    capabilities |= {"Admin Port": port, FOLDER: _folder, ADMIN_SOCKET: _admin_path(port)}
    definitions = thespian.test.simpleActorTestLogging()
    base = SuiteBase(SimpleNamespace(capabilities=capabilities), definitions)
    system = ActorSystem(systemBase=base, capabilities=capabilities, logDefs=definitions, transientUnique=True)
    system.base_name, system.port_num, system.txonly = BASE_NAME, port, False
    return system


def similar_asys(asys: Any, in_convention: bool = True, start_wait: bool = True, capabilities: Any = None) -> Any:
    """A second system, by default in the convention of the first."""
    wanted = dict(capabilities or {})
    if in_convention:
        wanted[CONVENTION] = "", asys.port_num
    system = start(wanted, next(_ports))
    if in_convention and start_wait:
        thespian.test.inTestDelay(0.25)
    return system


@pytest.fixture(params=[BASE_NAME], name="asys")
def one_system() -> Iterator[Any]:
    """The system of one test."""
    port = next(_ports)
    system = start(dict(CAPABILITIES) | {CONVENTION: ("", port)}, port)
    yield system
    system.shutdown()


@pytest.fixture(name="asys2")
def second_system(asys: Any) -> Iterator[Any]:
    """Another one that knows nothing of the first."""
    system = similar_asys(asys, in_convention=False)
    yield system
    system.shutdown()


@pytest.fixture(name="asys_pair")
def two_systems(asys: Any) -> Iterator[Any]:
    """Two in one convention."""
    system = similar_asys(asys, in_convention=True)
    yield asys, system
    system.shutdown()


def _replace_fixtures() -> None:
    package: Any = thespian.test
    package.asys, package.asys2, package.asys_pair = one_system, second_system, two_systems
    package.similar_asys = similar_asys


_replace_fixtures()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What names another base in its own parameters is not for us; it is counted as deselected."""
    others = ("simpleSystemBase", "multiprocQueueBase", "multiprocUDPBase", "multiprocTCPBase")
    kept, dropped = [], []
    for item in items:
        (dropped if any(other in item.name for other in others) else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=dropped)


def pytest_sessionfinish() -> None:
    clear(_folder)
    os.rmdir(_runtime)
