"""What happens in a chaos run: the same seed gives the same rounds, and every fault has its turn."""

from collections import Counter
from itertools import islice

import pytest

from nightdesk.chaos.choice import chosen
from nightdesk.chaos.schedule import BESIDE_S, CALM_S, SIZE_SHARES, SIZES, SPELL_S, Round, Terms, rounds
from nightdesk.chaos.table import DRAWN, FAULTS, kinds_required
from nightdesk.errors import ConfigurationError

TERMS = [row.terms for row in chosen(None, FAULTS).values()]


def drawn(seed: int, count: int) -> list[Round]:
    """The first rounds of a seed."""
    return list(islice(rounds(seed, TERMS), count))


def test_a_seed_draws_the_same_rounds_for_ever() -> None:
    """Faults, times and the seeds of their choices; another seed draws others."""
    assert drawn(7, 200) == drawn(7, 200)
    assert drawn(7, 20) != drawn(8, 20)


@pytest.mark.parametrize("seed", range(5))
def test_every_fault_comes_once_before_any_comes_twice(seed: int) -> None:
    """But for those few of the next deck that had to wait for what they go with."""
    counts: Counter[str] = Counter()
    for each in rounds(seed, TERMS):
        counts.update(strike.name for strike in each.strikes)
        if counts.total() >= len(DRAWN):
            break
    assert len(counts) >= len(DRAWN) - 4
    assert max(counts.values()) <= 2


def test_faults_of_one_group_are_never_in_one_round() -> None:
    """Two that end the whole system, or a stranger's fill and a report that is lost."""
    for each in drawn(3, 2000):
        groups = Counter(group for strike in each.strikes for group in FAULTS[strike.name].groups)
        assert not [group for group, count in groups.items() if count > 1]
        assert len({strike.name for strike in each.strikes}) == len(each.strikes)


def test_rounds_are_of_one_to_eight_faults_with_times_in_their_limits() -> None:
    """Half of them are of three at most, so that each fault is met alone and beside few others, too."""
    found = drawn(11, 2000)
    sizes = Counter(len(each.strikes) for each in found)
    assert sorted(sizes) == list(SIZES)
    for size, share in zip(SIZES, SIZE_SHARES, strict=True):
        assert abs(sizes[size] / len(found) - share) < 0.05
    for each in found:
        assert CALM_S[0] <= each.calm_s <= CALM_S[1]
        assert each.strikes[0].after_s == 0
        for strike in each.strikes:
            assert 0 <= strike.after_s <= BESIDE_S[1]
            assert SPELL_S[0] <= strike.spell_s <= SPELL_S[1]


def test_heavier_faults_come_sooner() -> None:
    """What takes a new start of everything lies rather low in a deck, so that short runs trade more."""
    places: dict[str, list[int]] = {"light": [], "heavy": []}
    faults = [Terms(f"light{number}", 1) for number in range(10)] + [Terms(f"heavy{number}", 5) for number in range(10)]
    for seed in range(300):
        names = [strike.name for each in islice(rounds(seed, faults), 20) for strike in each.strikes][:20]
        for place, name in enumerate(names):
            places[name.rstrip("0123456789")].append(place)
    assert sum(places["heavy"]) / len(places["heavy"]) + 3 < sum(places["light"]) / len(places["light"])


def test_a_run_may_be_limited_to_kinds_and_to_rows_of_the_matrix() -> None:
    """In the table's order, each once; what takes minutes comes only where it is named; who names a kind gets it."""
    assert list(chosen(None, FAULTS)) == list(DRAWN)
    assert set(FAULTS) - set(DRAWN) == {"wrong_positions"}
    assert list(chosen("row:12, kill_run,row:1,kill_run", FAULTS)) == ["kill_strategy", "kill_run", "strategy_storms"]
    assert set(chosen("row:3", FAULTS)) == {"kill_order_plant", "lost_new", "net_lost"}
    assert chosen("row:25", FAULTS)["wrong_positions"].weight == 1
    for words in ("", "kill_run,", "row:", "row:-", "row:99", "row:x", "nobody"):
        with pytest.raises(ConfigurationError, match=r"^--faults: no fault is"):
            chosen(words, FAULTS)


def test_the_minimum_of_kinds_grows_with_the_run_up_to_most_of_the_table() -> None:
    """A named minimum for every length."""
    assert [kinds_required(minutes) for minutes in (0.01, 1, 2, 60)] == [1, 4, 8, int(0.8 * len(DRAWN))]
    assert [kinds_required(minutes, 5) for minutes in (1, 60)] == [4, 4]
