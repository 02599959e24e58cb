"""The vocabulary that all actors share: immutable messages, enumerations and identifiers."""

from nightdesk.messages.base import ChildId as ChildId
from nightdesk.messages.base import ClientOrderId as ClientOrderId
from nightdesk.messages.base import FillId as FillId
from nightdesk.messages.base import Message as Message
from nightdesk.messages.base import StrategyId as StrategyId
from nightdesk.messages.base import VenueOrderId as VenueOrderId
from nightdesk.messages.codec import MESSAGE_TYPES as MESSAGE_TYPES
from nightdesk.messages.codec import DecodeError as DecodeError
from nightdesk.messages.codec import decode as decode
from nightdesk.messages.codec import decode_packet as decode_packet
from nightdesk.messages.codec import encode as encode
from nightdesk.messages.codec import encode_packet as encode_packet
from nightdesk.messages.control import *  # noqa: F403
from nightdesk.messages.enums import *  # noqa: F403
from nightdesk.messages.lifecycle import *  # noqa: F403
from nightdesk.messages.market import *  # noqa: F403
from nightdesk.messages.orders import *  # noqa: F403
