"""Reference data of contracts and front months, from the wire's words to ours."""

from typing import Any, Final

from nightdesk.instrument_table import ContractFacts
from nightdesk.rithmic.session import PlantSession

REFERENCE_DATA: Final = 14
FRONT_MONTH: Final = 113
_VOLUME_BIT: Final = 8


async def contract_facts(session: PlantSession, symbol: str, exchange: str) -> ContractFacts | None:
    """What the gateway says of a contract; None where it knows none of that name. Raises as ``request`` does."""
    answers = await session.request(REFERENCE_DATA, symbol=symbol, exchange=exchange)
    if not answers:
        return None
    answer = answers[0]
    return ContractFacts(
        exchange=answer.exchange or exchange,
        tick_size=answer.min_qprice_change or None,
        point_value=answer.single_point_value or None,
        expiration_date=answer.expiration_date,
    )


async def front_month(session: PlantSession, product: str, exchange: str) -> str:
    """The contract that the gateway calls a product's front month; empty where it has none. Raises as ``request`` does.

    Its announcements of a change (template 159) cannot be read by the library: ask from time to time.
    """
    answers = await session.request(FRONT_MONTH, symbol=product, exchange=exchange, need_updates=False)
    return str(answers[0].trading_symbol) if answers else ""


def session_volume(message: Any) -> int | None:
    """The contracts that a session has traded so far, where a trade's frame says so."""
    return int(message.volume) if message.presence_bits & _VOLUME_BIT else None
