"""The operator's door: a Unix socket that answers only its own user."""

from actors.control.body import ControlBody

__all__ = ["ControlBody"]
