"""What a running actor is told of the configuration: the settings and the resolved folders, as JSON."""

from typing import Self

from nightdesk.settings.models import Section, Settings


class RunConfiguration(Section):
    """Settings with their folders; secrets are still references, resolved only where they are used."""

    settings: Settings
    config_file: str
    state_dir: str
    runtime_dir: str

    def to_json(self) -> bytes:
        """The form in which supervisors carry it to their children."""
        return self.model_dump_json(by_alias=True).encode()

    @classmethod
    def from_json(cls, payload: bytes) -> Self:
        """The inverse of ``to_json``."""
        return cls.model_validate_json(payload)


class ExchangeEndpoint(Section):
    """Where the embedded exchange listens; it writes this to ``runtime_dir/exchange.json`` (0600) at each start."""

    url: str
    system_name: str
    ca_file: str
    user: str
    password: str
