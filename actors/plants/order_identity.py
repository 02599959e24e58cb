"""Whose orders these are: the account of a login, and the system behind the gateway."""

from nightdesk.errors import ConfigurationError, LinkError
from nightdesk.messages import AccountIdentity
from nightdesk.settings.models import Settings


def choose_account(settings: Settings, identity: AccountIdentity) -> str:
    """The configured account, or the only one; never a guess.

    Raises ``ConfigurationError`` that names the choices, and ``LinkError`` for a login that names none.
    """
    if not identity.account_ids:
        # Every login has one: an answer without any says that the gateway cannot tell now.
        raise LinkError("the gateway named no account")
    choices = ", ".join(identity.account_ids)
    if settings.account is not None:
        if settings.account not in identity.account_ids:
            raise ConfigurationError(f"account: the login has no account {settings.account}; it has {choices}")
        return settings.account
    if len(identity.account_ids) > 1:
        raise ConfigurationError(f"account: name the account to trade; the login has {choices}")
    return identity.account_ids[0]


def system_name_of(settings: Settings) -> str:
    """Whose account it is: the name of the gateway's system."""
    if settings.mode == "sim":
        return settings.exchange.system_name if settings.exchange is not None else "Nightdesk Simulator"
    return settings.gateway.system_name if settings.gateway is not None else ""
