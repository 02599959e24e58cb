"""One run per folder, and one system per login: whoever comes second is told who was first."""

import os
from pathlib import Path

import pytest

from nightdesk.errors import ConfigurationError, CredentialsError
from nightdesk.settings.load import load_settings
from nightdesk.settings.locks import FileLock, Holder, lock_folder, lock_logins
from nightdesk.settings.models import Settings

FIRST = Holder(4711, "desk", "/etc/desk.yaml")
SECOND = Holder(4712, "copy", "/home/me/copy.yaml")

PAPER = """\
name: desk
mode: paper
gateway: {{url: "{url}", system_name: "{system}"}}
credentials: {{user: "${{{user}}}", password: "${{PASSWORD}}"}}
{account}
instruments: [{{symbol: ESZ6, exchange: CME, tick_size: 0.25, point_value: 50}}]
risk: {{max_order_quantity: 1, max_position: 1, max_open_orders: 1, max_orders_per_second: 1}}
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "s"), "USER_A": "trader", "USER_B": "trader", "OTHER": "somebody"}


def settings(
    folder: Path, *, url: str = "wss://gate.example:443", system: str = "Paper", user: str = "USER_A", account: str = ""
) -> Settings:
    file = folder / "desk.yaml"
    line = f'account: "{account}"' if account else ""
    file.write_text(PAPER.format(url=url, system=system, user=user, account=line))
    return load_settings(file, environ={}, check_strategies=False).settings


@pytest.mark.parametrize(
    "copied",
    [
        {},
        {"user": "USER_B"},
        {"url": "wss://GATE.example/"},
        {"system": "PAPER "},
        {"account": "A-1"},
    ],
)
def test_second_system_on_one_login_is_refused(tmp_path: Path, environ: dict[str, str], copied: dict[str, str]) -> None:
    """However the copied configuration writes it; the error names the process that has the login."""
    held = lock_logins(settings(tmp_path), FIRST, environ)
    with pytest.raises(ConfigurationError, match=r"uses this user at gate\.example:443 already") as caught:
        lock_logins(settings(tmp_path, **copied), SECOND, environ)
    assert "desk, process 4711, /etc/desk.yaml" in str(caught.value)
    assert "trader" not in str(caught.value)
    for lock in held:
        lock.release()
    for lock in lock_logins(settings(tmp_path, **copied), SECOND, environ):
        lock.release()


@pytest.mark.parametrize("other", [{"user": "OTHER"}, {"url": "wss://other.example"}, {"system": "Live"}])
def test_other_logins_do_not_concern_each_other(tmp_path: Path, environ: dict[str, str], other: dict[str, str]) -> None:
    """Another user, another gateway, another system of it."""
    held = lock_logins(settings(tmp_path), FIRST, environ)
    held += lock_logins(settings(tmp_path, **other), SECOND, environ)
    for lock in held:
        lock.release()


def test_two_users_cannot_trade_one_account(tmp_path: Path, environ: dict[str, str]) -> None:
    """The refused one gives back what it had locked before."""
    held = lock_logins(settings(tmp_path, account="A-1"), FIRST, environ)
    with pytest.raises(ConfigurationError, match="uses this account at"):
        lock_logins(settings(tmp_path, user="OTHER", account="A-1"), SECOND, environ)
    held += lock_logins(settings(tmp_path, user="OTHER", account="A-2"), SECOND, environ)
    for lock in held:
        lock.release()


def test_lock_files_hold_no_secret_and_are_for_their_user_alone(tmp_path: Path, environ: dict[str, str]) -> None:
    """Names are digests; inside stands who holds the lock."""
    held = lock_logins(settings(tmp_path), FIRST, environ)
    (file,) = (tmp_path / "s" / "nightdesk" / "logins").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.read_text() == "4711\ndesk\n/etc/desk.yaml\n"
    assert "trader" not in file.name
    for lock in held:
        lock.release()


def test_simulation_needs_no_login_lock(tmp_path: Path) -> None:
    """Its exchange is private; nothing is created."""
    configuration = load_settings("sim.yaml", environ={"XDG_STATE_HOME": str(tmp_path)}, check_strategies=False)
    assert lock_logins(configuration.settings, FIRST, {"XDG_STATE_HOME": str(tmp_path)}) == []
    assert list(tmp_path.iterdir()) == []


def test_login_lock_without_the_users_name_is_a_credentials_error(tmp_path: Path) -> None:
    """As everywhere else where a secret is absent."""
    with pytest.raises(CredentialsError, match="USER_A is not set"):
        lock_logins(settings(tmp_path), FIRST, {"XDG_STATE_HOME": str(tmp_path)})


def test_copied_configuration_with_the_same_folder_names_the_running_one(tmp_path: Path) -> None:
    """Another name does not help in the same folder; the mend is another folder."""
    lock = lock_folder("state_dir", str(tmp_path), FIRST)
    with pytest.raises(ConfigurationError, match=r"desk, process 4711, /etc/desk\.yaml\); stop that one first"):
        lock_folder("state_dir", str(tmp_path), SECOND)
    lock.release()


def test_lock_file_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    """A full disk, a folder that is not there."""
    with pytest.raises(ConfigurationError, match="/dev/full: cannot be written"):
        FileLock(Path("/dev/full"), FIRST, str)
    with pytest.raises(ConfigurationError, match=r"missing/lock: cannot be opened \(No such file"):
        lock_folder("state_dir", str(tmp_path / "missing"), FIRST)


def test_damaged_lock_file_of_a_running_system_is_still_a_lock(tmp_path: Path) -> None:
    """The lock is the kernel's; the text in the file is only for people."""
    lock = lock_folder("state_dir", str(tmp_path), FIRST)
    (tmp_path / "lock").write_bytes(b"\xff" * 10_000)
    with pytest.raises(ConfigurationError, match=r"in use \(unknown, process 0, unknown\)"):
        lock_folder("state_dir", str(tmp_path), Holder(os.getpid(), "x", "y"))
    lock.release()
