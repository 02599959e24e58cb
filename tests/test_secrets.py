"""Secrets: where they come from, who may read them, and that no message repeats them."""

import os
from pathlib import Path

import pytest

from nightdesk.errors import CredentialsError
from nightdesk.settings.load import load_settings
from nightdesk.settings.models import Secret, Settings
from nightdesk.settings.secrets import check_secrets, resolve_secret

CANARY = "canary-4711"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{CANARY}\n")
    path.chmod(0o600)
    return path


def settings_with(folder: Path, password: str) -> Settings:
    path = folder / "desk.yaml"
    path.write_text(
        "name: desk\nmode: paper\n"
        "instruments: [{symbol: ESZ6, exchange: CME, tick_size: 0.25, point_value: 50}]\n"
        "risk: {max_order_quantity: 1, max_position: 1, max_open_orders: 1, max_orders_per_second: 1}\n"
        "gateway: {url: 'wss://gateway', system_name: S}\n"
        f"credentials:\n  user: ${{DESK_USER}}\n  password: {password}\n"
        "alerts:\n  - {name: hook, kind: webhook, url: '${DESK_HOOK}'}\n"
    )
    return load_settings(path, environ={}, check_strategies=False).settings


def test_secret_comes_from_the_environment() -> None:
    """The variable's value is the secret."""
    assert resolve_secret(Secret(env="DESK_PASSWORD"), {"DESK_PASSWORD": CANARY}) == CANARY


@pytest.mark.parametrize("environ", [{}, {"DESK_PASSWORD": ""}])
def test_variable_without_a_value_is_missing(environ: dict[str, str]) -> None:
    """Empty is as good as unset; the error says what to export."""
    with pytest.raises(CredentialsError, match="DESK_PASSWORD is not set; export it") as caught:
        resolve_secret(Secret(env="DESK_PASSWORD"), environ)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_secret_comes_from_a_file_without_its_last_line_end(secret_file: Path, mode: int) -> None:
    """An editor's line end is not part of the password."""
    secret_file.chmod(mode)
    assert resolve_secret(Secret(file=str(secret_file))) == CANARY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o700])
def test_file_that_others_may_read_is_refused(secret_file: Path, mode: int) -> None:
    """The error names the mode and the command that mends it, and not the secret."""
    secret_file.chmod(mode)
    with pytest.raises(CredentialsError, match=f"mode {mode:04o}; run: chmod 600") as caught:
        resolve_secret(Secret(file=str(secret_file)))
    assert CANARY not in str(caught.value)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing file is one line."""
    with pytest.raises(CredentialsError, match="absent cannot be opened"):
        resolve_secret(Secret(file=str(tmp_path / "absent")))


def test_folder_and_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    """Nothing but a regular file holds a secret; a named pipe does not block the start."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(CredentialsError, match="not a regular file"):
            resolve_secret(Secret(file=str(path)))


@pytest.mark.parametrize("payload", [b"", b"\n", b"x" * 70_000])
def test_file_without_one_line_is_refused(secret_file: Path, payload: bytes) -> None:
    """Neither nothing nor a novel is a password."""
    secret_file.write_bytes(payload)
    with pytest.raises(CredentialsError, match="empty or too long"):
        resolve_secret(Secret(file=str(secret_file)))


def test_bytes_that_are_no_text_are_refused(secret_file: Path) -> None:
    """A binary file was named by mistake."""
    secret_file.write_bytes(b"\xff\xfe")
    with pytest.raises(CredentialsError, match="not UTF-8"):
        resolve_secret(Secret(file=str(secret_file)))


def test_check_names_every_missing_secret_in_one_line(tmp_path: Path, secret_file: Path) -> None:
    """All of them at once: nobody likes to be told one by one."""
    secret_file.chmod(0o644)
    settings = settings_with(tmp_path, f"{{file: {secret_file}}}")
    with pytest.raises(CredentialsError) as caught:
        check_secrets(settings, {})
    line = str(caught.value)
    assert "credentials.user: the environment variable DESK_USER is not set" in line
    assert "credentials.password: " in line
    assert "chmod 600" in line
    assert "alerts[0].url: the environment variable DESK_HOOK" in line
    assert "\n" not in line
    assert CANARY not in line


def test_check_passes_where_everything_is_there(tmp_path: Path, secret_file: Path) -> None:
    """Presence and mode are enough; an empty file is found only by who uses it."""
    secret_file.write_text("")
    settings = settings_with(tmp_path, f"{{file: {secret_file}}}")
    check_secrets(settings, {"DESK_USER": "u", "DESK_HOOK": "https://example"})


def test_configuration_of_a_run_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What supervisors carry to their children are references."""
    monkeypatch.setenv("DESK_USER", CANARY)
    monkeypatch.setenv("DESK_PASSWORD", CANARY)
    settings_with(tmp_path, "${DESK_PASSWORD}")
    run = load_settings(tmp_path / "desk.yaml", check_strategies=False)
    assert CANARY.encode() not in run.to_json()
