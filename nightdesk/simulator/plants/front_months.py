"""Who is told when the front month of a product becomes another contract."""

from nightdesk.simulator.plants.market_frames import front_month_frame
from nightdesk.simulator.plants.reference import Catalog, front_month_name
from nightdesk.simulator.wire.session import Session


class FrontMonths:
    """The followers of each root's front month, and the contract that they know of."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._followed: dict[tuple[str, str], tuple[str, list[Session]]] = {}

    def follow(self, session: Session, root: str, exchange: str, symbol: str) -> None:
        """Tell the session when the front month, now ``symbol``, becomes another contract."""
        _, sessions = self._followed.setdefault((root, exchange), (symbol, []))
        if session not in sessions:
            sessions.append(session)

    def forget(self, session: Session) -> None:
        """The session is gone."""
        for key, (_, sessions) in list(self._followed.items()):
            if session in sessions:
                sessions.remove(session)
            if not sessions:
                del self._followed[key]

    def roll(self, now_ns: int) -> None:
        """Look whether a front month has become another contract; its followers are told once."""
        for (root, exchange), (symbol, sessions) in list(self._followed.items()):
            product = self._catalog.front_month(root, exchange, now_ns)
            if product is not None and product.symbol != symbol:
                self._followed[root, exchange] = (product.symbol, sessions)
                frame = front_month_frame(root, exchange, front_month_name(root, product), product)
                for session in sessions:
                    session.send(frame)
