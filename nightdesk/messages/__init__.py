"""The vocabulary that all actors share: immutable messages, enumerations and identifiers."""

from nightdesk.messages.base import ChildId, ClientOrderId, FillId, Message, StrategyId, VenueOrderId
from nightdesk.messages.codec import MESSAGE_TYPES, DecodeError, decode, decode_packet, encode, encode_packet
from nightdesk.messages.control import *  # noqa: F403
from nightdesk.messages.enums import *  # noqa: F403
from nightdesk.messages.lifecycle import *  # noqa: F403
from nightdesk.messages.market import *  # noqa: F403
from nightdesk.messages.orders import *  # noqa: F403
