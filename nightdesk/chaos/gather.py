"""Reads what a run has left behind: the oracle's two logs, the journal, every file for a secret."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nightdesk.chaos.books import Place, exchange_book, journal_book
from nightdesk.chaos.evidence import GENERATION, Evidence, Line, OrderLogin, RoundRecord
from nightdesk.chaos.job import ACCOUNT
from nightdesk.chaos.proxy import LinkTimes
from nightdesk.chaos.world import Status, World
from nightdesk.simulator.wire.wire_log import Kind
from nightdesk.simulator.wire.wire_log_reader import LOGIN_ANSWER, LOGIN_REQUEST, TICKS, Record, read_records

NEW_ORDER_REQUESTS = frozenset({312, 328, 330})
"""New order, one-cancels-other, bracket: each leg has a tag."""

MODIFY_REQUEST, CANCEL_REQUEST = 314, 316
ORDER_PLANT_TYPE = 2
TRADE = 150
NS_PER_S, NS_PER_US = 1_000_000_000, 1000
ENDPOINT_FILE = "exchange.json"
"""The exchange's own file for its clients holds the password on purpose, with mode 0600."""

PART_BYTES = 1 << 20
POSITION_EVENT = "chaos_position"


class Wire:
    """One pass over the exchange's wire log."""

    def __init__(self) -> None:
        self.tags: Counter[str] = Counter()
        self.requests: Counter[int] = Counter()
        self.tick_times: dict[tuple[int, str], list[int]] = {}
        self.spoiled_times: dict[str, list[int]] = {}
        self._ports: dict[int, tuple[int, int]] = {}
        self._asked: dict[int, Any] = {}
        self._logins: dict[int, int] = {}
        self._last_received_ns: dict[int, int] = {}

    def read(self, state_dir: Path) -> None:
        """All records. Connections are numbered anew at each start of the exchange."""
        start = 0
        for record in read_records(state_dir):
            if record.kind is Kind.STARTED:
                start += 1
            self._take(record, start << 32)
        for times in (*self.tick_times.values(), *self.spoiled_times.values()):
            times.sort()

    def order_logins(self, links: Iterable[LinkTimes]) -> list[OrderLogin]:
        """Each login of an order plant, with when its link's client spoke last."""
        by_port: dict[int, list[LinkTimes]] = {}
        for link in links:
            by_port.setdefault(link.port, []).append(link)
        found = []
        for number, logged_in_ns in self._logins.items():
            port, opened_ns = self._ports.get(number, (0, 0))
            # A port may be used again: the link is the last one that was made before the exchange noted it.
            made = [link for link in by_port.get(port, ()) if link.opened_ns <= opened_ns]
            client_last_ns = made[-1].client_last_ns if made else None
            last_ns = self._last_received_ns.get(number, logged_in_ns)
            found.append(OrderLogin(number, logged_in_ns, last_ns, client_last_ns))
        return found

    def _take(self, record: Record, base: int) -> None:
        match record.kind:
            case Kind.OPENED:
                port = int(str(record.detail["peer"]).rpartition(":")[2] or 0)
                self._ports[base + record.connections[0]] = (port, record.ts_ns)
            case Kind.RECEIVED:
                self._received(record, base + record.connections[0])
            case Kind.SENT if record.template_id == LOGIN_ANSWER:
                self._answered(record, base + record.connections[0])
            case Kind.SENT | Kind.SPOILED if record.template_id in TICKS:
                self._ticked(record, base)

    def _ticked(self, record: Record, base: int) -> None:
        message = record.message
        if message is None:
            return
        time_ns = message.ssboe * NS_PER_S + message.usecs * NS_PER_US
        if record.kind is Kind.SENT:
            for connection in record.connections:
                self.tick_times.setdefault((base + connection, message.symbol), []).append(time_ns)
            return
        self.spoiled_times.setdefault(message.symbol, []).append(time_ns)
        if record.template_id == TRADE:
            # Prints have a time of their own, and that is what counts.
            times = self.spoiled_times[message.symbol]
            times.append(message.source_ssboe * NS_PER_S + (message.source_nsecs or message.source_usecs * NS_PER_US))

    def _received(self, record: Record, number: int) -> None:
        template_id = record.template_id or 0
        self._last_received_ns[number] = record.ts_ns
        self.requests[template_id] += 1
        if template_id == LOGIN_REQUEST:
            self._asked[number] = record.message
        elif template_id in NEW_ORDER_REQUESTS:
            tags = getattr(record.message, "user_tag", "")
            self.tags.update([tags] if isinstance(tags, str) else list(tags))

    def _answered(self, record: Record, number: int) -> None:
        asked = self._asked.get(number)
        if asked is None or list(record.message.rp_code) != ["0"]:
            return
        if asked.infra_type == ORDER_PLANT_TYPE:
            self._logins.setdefault(number, record.ts_ns)


def gather(world: World, rounds: list[RoundRecord], status: Status | None, wire: Wire) -> Evidence:
    """All the evidence of a run whose processes have ended. Raises ``JournalError`` for a damaged log."""
    recorder, job = world.recorder, world.job
    exchange_dir = Path(job.exchange.state_dir)
    wire.read(exchange_dir)
    leaks, searched = search(job.folder, world.canaries())
    evidence = Evidence(
        exchange=exchange_book(exchange_dir),
        journal=journal_book(Path(job.system.state_dir)),
        received=Counter({tag: count for tag, count in wire.tags.items() if tag}),
        system_positions=_positions(status),
        strategy_positions=_told(recorder.lines),
        lines=recorder.lines,
    )
    evidence.kills, evidence.rounds = world.kills, rounds
    evidence.order_logins = wire.order_logins(world.proxy.times)
    evidence.plant_lives, evidence.alive_together = recorder.lives(), recorder.alive_together
    evidence.order_plants = recorder.order_plants
    evidence.tick_times, evidence.spoiled_times = wire.tick_times, wire.spoiled_times
    evidence.leaks, evidence.searched = [*world.leaks, *leaks], searched
    evidence.left, evidence.ends = world.left, world.ends
    return evidence


def search(folder: Path, canaries: Iterable[bytes]) -> tuple[list[str], int]:
    """The files below a folder that hold a canary, and how many were searched."""
    canaries, found, searched = tuple(canaries), [], 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.name == ENDPOINT_FILE:
            continue
        searched += 1
        if holds(path, canaries):
            found.append(f"{path.relative_to(folder)} holds the password")
    return found, searched


def holds(path: Path, canaries: tuple[bytes, ...]) -> bool:
    """Whether one of the canaries is in a file of any size."""
    tail = b""
    longest = max(map(len, canaries))
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            window = tail + part
            if any(canary in window for canary in canaries):
                return True
            tail = window[-longest:]
    return False


def _positions(status: Status | None) -> dict[Place, int]:
    """Of the account, as the order plant told them; which account it is the configuration says."""
    return {} if status is None else {(ACCOUNT, each["symbol"]): each["quantity"] for each in status["positions"]}


def _told(lines: list[Line]) -> dict[Place, int]:
    """The newest word of each strategy about each of its positions."""
    newest = max((line[GENERATION] for line in lines), default=0)
    told = [line for line in lines if line["event"] == POSITION_EVENT and line[GENERATION] == newest]
    return {(line["child_id"].partition("/")[2], line["symbol"]): line["quantity"] for line in told}
