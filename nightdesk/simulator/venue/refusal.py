"""The venue's answer to a request that it will not take at all."""

from nightdesk.errors import NightdeskError


class VenueRefusal(NightdeskError):
    """A request is refused at once, such as "order not found", "already filled" or "already cancelled"."""
