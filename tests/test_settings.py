"""Configuration files: what they may say, and the one line that each mistake gets."""

import os
import re
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightdesk.errors import ConfigurationError
from nightdesk.settings.children import all_children
from nightdesk.settings.complaints import known_keys
from nightdesk.settings.folders import prepare_folder
from nightdesk.settings.load import CONFIG_FOLDER, find_config, load_folders, load_settings
from nightdesk.settings.locks import Holder, is_locked, lock_folder
from nightdesk.settings.models import ReplaySource, Secret, Settings
from nightdesk.settings.runtime import RunConfiguration
from nightdesk.settings.strategy_check import ClassToCheck, check_classes
from nightdesk.settings.yaml_source import SECRET_PATHS
from supervisors.spec import GiveUp, unpack
from supervisors.tree import build_tree

GOOD = """\
name: desk
mode: sim
instruments:
  - {symbol: ESZ6, exchange: CME, tick_size: 0.25, point_value: 50.0, commission: 1.25}
risk: {max_order_quantity: 5, max_position: 10, max_open_orders: 20, max_orders_per_second: 20}
strategies:
  - name: cross
    class: mine.cross:Cross
    symbols: [ESZ6]
alerts:
  - {name: log, kind: log}
"""
LIMITS = (
    "price_collar: {ticks: 40}, daily_loss_limit: 500, max_contracts: 5, market_data_stale_s: 5, "
    "duplicate_window_s: 1, rejects_in_row_max: 3"
)
"""What mode live needs of ``risk`` beside what every mode does."""
LIVE = (
    GOOD.replace("mode: sim", "mode: live\narmed: true").replace("per_second: 20}", f"per_second: 20, {LIMITS}}}")
    + """\
gateway: {url: "wss://gateway.example:443", system_name: Live}
credentials:
  user: ${DESK_USER}
  password: ${DESK_PASSWORD}
"""
)


def load(folder: Path, text: str, **environ: str) -> RunConfiguration:
    """Load a text as ``desk.yaml`` without importing its strategies."""
    (folder / "desk.yaml").write_text(text)
    return load_settings(folder / "desk.yaml", environ=environ, check_strategies=False)


def complaint(folder: Path, text: str, **environ: str) -> str:
    """The line that a bad text gets, with the folder cut off."""
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, **environ)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.exit_code == 2
    assert line.startswith(f"{folder}/")
    return line.removeprefix(f"{folder}/")


def swap(old: str, new: str, base: str = GOOD) -> str:
    assert old in base
    return base.replace(old, new)


BAD: dict[str, tuple[str, str]] = {
    "unknown key": (GOOD + "log_levle: info\n", r"desk\.yaml:12: log_levle: .* did you mean log_level\?"),
    "unknown key far from any": (GOOD + "colour: red\n", r":12: colour: .* remove it \(known here: account, "),
    "unknown nested key": (
        swap("max_position: 10", "max_positon: 10"),
        r":5: risk\.max_positon: .* did you mean max_position\?",
    ),
    "unknown key of a source": (
        GOOD + "exchange:\n  source:\n    kind: synthetic\n    sed: 3\n",
        r":15: exchange\.source\.sed: .* did you mean seed\?",
    ),
    "missing key": (swap("name: desk\n", ""), r":1: name: is missing; add name:"),
    "missing nested key": (swap("exchange: CME, ", ""), r":4: instruments\[0\]\.exchange: is missing"),
    "wrong type": (
        swap("max_order_quantity: 5", "max_order_quantity: five"),
        r":5: risk\.max_order_quantity: must be a whole number, not 'five'",
    ),
    "text for a list": (swap("[ESZ6]", "ESZ6"), r":9: strategies\[0\]\.symbols: must be a list .* not 'ESZ6'"),
    "out of range": (
        swap("tick_size: 0.25", "tick_size: 0"),
        r":4: .*tick_size: must be greater than or equal to 0.000000001, not 0",
    ),
    "infinite number": (swap("tick_size: 0.25", "tick_size: .inf"), r":4: .*tick_size: must be a finite number"),
    "bad mode": (swap("mode: sim", "mode: demo"), r":2: mode: must be 'sim', 'paper' or 'live', not 'demo'"),
    "bad name": (swap("name: desk", "name: My Desk"), r":1: name: must be 1 to 32 lower-case .* not 'My Desk'"),
    "bad class": (swap("mine.cross:Cross", "mine.cross"), r":8: strategies\[0\]\.class: must be module:Class"),
    "section is no mapping": (swap("risk: {", "risk: []\n#"), r":5: risk: must be a mapping .* not a list"),
    "duplicate key": (GOOD + "mode: live\n", r":12: mode: is given twice \(first on line 2\); remove one"),
    "bad YAML": (GOOD + "exchange: [1,\n", r":1[23]: file: is not valid YAML"),
    "tab for indentation": (GOOD + "exchange:\n\tport: 1\n", r":13: file: is not valid YAML .* indentation"),
    "a tag of python": (GOOD + "account: !!python/name:os.system x\n", r":12: account: cannot be read as a YAML value"),
    "empty file": ("# nothing\n", r":1: file: is empty; start from config/sim\.yaml"),
    "no mapping": ("- name\n", r":1: file: must be a mapping of keys"),
    "two documents": ("name: a\n---\nname: b\n", r"file: is not valid YAML"),
    "undefined variable": (
        swap("name: desk", "name: ${DESK_NAME}"),
        r":1: name: the environment variable DESK_NAME is not set; export DESK_NAME",
    ),
    "malformed variable": (swap("name: desk", "name: '${1}'"), r":1: name: .* write \$\{NAME\}"),
    "variable within braces": (GOOD + "journal: {durability: ${X}}\n", r":12: file: .* needs quotes, or a line of its"),
    "two strategies of one name": (
        swap("alerts:", "  - {name: cross, class: 'a:B', symbols: [ESZ6]}\nalerts:"),
        r":10: strategies\[1\]\.name: a second child is named cross",
    ),
    "two alert channels of one name": (
        GOOD + "  - {name: log, kind: log}\n",
        r":12: alerts\[1\]\.name: a second child is named log",
    ),
    "two instruments of one symbol": (
        swap("risk:", "  - {symbol: ESZ6, exchange: CME, tick_size: 1, point_value: 1}\nrisk:"),
        r":5: instruments\[1\]\.symbol: ESZ6 is given twice",
    ),
    "symbol without instrument": (
        swap("[ESZ6]", "[ESZ6, NQZ6]"),
        r":9: strategies\[0\]\.symbols\[1\]: NQZ6 is not among the instruments \(ESZ6\)",
    ),
    "gateway in mode sim": (
        GOOD + "gateway: {url: 'wss://x', system_name: y}\n",
        r":12: gateway: mode sim trades on the embedded exchange only; remove this",
    ),
    "exchange in mode live": (LIVE + "exchange: {}\n", r"exchange: mode live trades through a gateway; remove"),
    "live without credentials": (
        LIVE[: LIVE.index("credentials:")],
        r": mode live needs credentials; copy that part from config/live\.yaml",
    ),
    "paper without gateway": (swap("mode: sim", "mode: paper"), r": mode paper needs gateway"),
    "live but not armed": (
        swap("armed: true", "armed: false", LIVE),
        r":3: armed: live trading is not armed; set armed: true .* set DESK_USER, DESK_PASSWORD in the environment",
    ),
    "plain ws off loopback": (swap("wss://gateway", "ws://gateway", LIVE), r"gateway\.url: ws:// would send the pass"),
    "password in the address": (swap("wss://gateway", "wss://me:pw@gateway", LIVE), r"gateway\.url: must not contain"),
    "no address": (swap("wss://gateway.example:443", "gateway", LIVE), r"gateway\.url: must be an address of the form"),
    "no port": (swap("example:443", "example:https", LIVE), r"gateway\.url: is not an address"),
    "CA file missing": (swap("system_name: Live", "system_name: Live, ca_file: a.pem", LIVE), r"a\.pem is not a file"),
    "secret in clear text": (
        swap("${DESK_PASSWORD}", "hunter2", LIVE),
        r":16: credentials\.password: a secret must not stand here in clear text; write \$\{VARIABLE\}",
    ),
    "webhook without address": (
        swap("kind: log", "kind: webhook"),
        r":11: alerts\[0\]: a webhook channel needs a url",
    ),
    "tape of an unknown symbol": (
        GOOD + "exchange: {source: {kind: replay, path: x.csv, symbol: NQZ6}}\n",
        r":12: exchange\.source\.symbol: NQZ6 is not among the instruments",
    ),
    "tape missing": (
        GOOD + "exchange: {source: {kind: replay, path: x.csv, symbol: ESZ6}}\n",
        r":12: exchange\.source\.path: .*x\.csv is not a file",
    ),
    "source without kind": (GOOD + "exchange: {source: {seed: 1}}\n", r":12: exchange\.source: has no kind; add kind"),
    "source of unknown kind": (
        GOOD + "exchange: {source: {kind: random}}\n",
        r":12: exchange\.source: must be 'synthetic', 'replay'",
    ),
    "strategy's folder missing": (
        swap("    symbols", "    path: nowhere\n    symbols"),
        r":9: strategies\[0\]\.path: .*nowhere is not a folder",
    ),
    "runtime folder too long": (GOOD + f"runtime_dir: {'r' * 90}\n", r":12: runtime_dir: .* too long for the sockets"),
}


@pytest.mark.parametrize(("text", "pattern"), BAD.values(), ids=BAD.keys())
def test_bad_configuration_gets_one_line_with_file_line_key_and_mend(tmp_path: Path, text: str, pattern: str) -> None:
    """Each mistake is one line: file, line, key, what is wrong, how to mend it; exit code 2."""
    line = complaint(tmp_path, text)
    assert re.search(pattern, line), line
    assert re.match(r"desk\.yaml:\d+: \S+: ", line), line
    assert "hunter2" not in line


def test_further_mistakes_are_counted(tmp_path: Path) -> None:
    """The first one in the file is told, with the number of those behind it."""
    text = swap("tick_size: 0.25", "tick_size: -1").replace("max_position: 10", "max_position: 0")
    line = complaint(tmp_path, text)
    assert ":4: instruments[0].tick_size" in line
    assert line.endswith("(1 more after this one)")


def test_missing_file_is_named() -> None:
    """A file that is not there is one line, too."""
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml:1: file: not found .* --config FILE"):
        load_settings("nowhere.yaml")


def test_folder_instead_of_a_file_is_named(tmp_path: Path) -> None:
    """So is a folder."""
    with pytest.raises(ConfigurationError, match="this is a folder"):
        load_settings(tmp_path)


def test_aliases_cannot_blow_a_file_up(tmp_path: Path) -> None:
    """A short file that unfolds to millions of values is refused, and so is one that contains itself."""
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
    )
    assert "unfolds to too much" in complaint(tmp_path, bomb)
    assert "nested too deeply" in complaint(tmp_path, "a: &a [*a]\n")


def test_good_file_gets_its_defaults(tmp_path: Path) -> None:
    """Mode sim gets an exchange, and the folders derive from the name."""
    run = load(tmp_path, GOOD, XDG_STATE_HOME="/x/state", XDG_RUNTIME_DIR="/x/run")
    assert run.settings.exchange is not None
    assert run.settings.exchange.source.kind == "synthetic"
    assert run.state_dir == "/x/state/nightdesk/desk"
    assert run.runtime_dir == "/x/run/nightdesk/desk"
    assert RunConfiguration.from_json(run.to_json()) == run


def test_systemd_folders_come_first(tmp_path: Path) -> None:
    """STATE_DIRECTORY and RUNTIME_DIRECTORY are systemd's."""
    run = load(tmp_path, GOOD, STATE_DIRECTORY="/s:/t", RUNTIME_DIRECTORY="/r", XDG_STATE_HOME="/x")
    assert (run.state_dir, run.runtime_dir) == ("/s/desk", "/r/desk")


def test_without_any_folder_variable_the_runtime_folder_is_the_users_own(tmp_path: Path) -> None:
    """Below /tmp the folder carries the user's number."""
    assert load(tmp_path, GOOD).runtime_dir == f"/tmp/nightdesk-{os.geteuid()}/desk"


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """Where the run was started from does not matter."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "tape.csv").touch()
    text = swap("    symbols", "    path: mine\n    symbols") + (
        "state_dir: state\nexchange: {source: {kind: replay, path: tape.csv, symbol: ESZ6}}\n"
    )
    run = load(tmp_path, text)
    assert run.state_dir == str(tmp_path / "state")
    assert run.settings.strategies[0].path == str(tmp_path / "mine")
    assert run.settings.exchange is not None
    assert isinstance(run.settings.exchange.source, ReplaySource)
    assert run.settings.exchange.source.path == str(tmp_path / "tape.csv")


def test_substituted_value_is_read_by_the_rules_of_yaml(tmp_path: Path) -> None:
    """A number from the environment is a number; in quotes it is text; nothing but a scalar can come in."""
    text = GOOD + 'market_lane:\n  buffer_max: ${LIMIT}\naccount: "${ACCOUNT}"\n'
    run = load(tmp_path, text, LIMIT="1200", ACCOUNT="12345")
    assert run.settings.market_lane.buffer_max == 1200
    assert run.settings.account == "12345"
    line = complaint(tmp_path, text, LIMIT="{a: 1}", ACCOUNT="x")
    assert "market_lane.buffer_max: must be a whole number" in line


def test_value_from_the_environment_is_never_repeated(tmp_path: Path) -> None:
    """Somebody may have put a secret's variable into the wrong key."""
    assert "hunter2" not in complaint(tmp_path, GOOD + "journal:\n  durability: ${PW}\n", PW="hunter2")


def test_secrets_stay_references(tmp_path: Path) -> None:
    """Loading neither needs nor reads them; a file's path becomes absolute."""
    text = swap("${DESK_PASSWORD}", "{file: pw}", LIVE)
    credentials = load(tmp_path, text).settings.credentials
    assert credentials is not None
    assert credentials.user == Secret(env="DESK_USER")
    assert credentials.password == Secret(file=str(tmp_path / "pw"))


def test_table_of_secret_keys_is_complete() -> None:
    """Every field of the models that is a secret is one that the loader keeps as a reference."""
    found = set()

    def walk(node: Any, path: tuple[str, ...]) -> None:
        for key, value in node.items():
            here = (*path, key)
            if value == {"$ref": "#/$defs/Secret"} or {"$ref": "#/$defs/Secret"} in value.get("anyOf", []):
                found.add(here)
            for part in (value, *value.get("anyOf", []), value.get("items", {})):
                reference = part.get("$ref") or part.get("items", {}).get("$ref", "")
                name = reference.rpartition("/")[2]
                if name and name != "Secret":
                    walk(schema["$defs"][name].get("properties", {}), (*here, "*") if "items" in value else here)

    schema = Settings.model_json_schema()
    walk(schema["properties"], ())
    assert found == set(SECRET_PATHS)


def test_known_keys_use_the_names_of_the_file() -> None:
    """A strategy's class is ``class`` in the file, whatever the model calls it."""
    keys = known_keys(("strategies", 0))
    assert "class" in keys
    assert "strategy_class" not in keys


def test_plain_ws_is_allowed_on_loopback(tmp_path: Path) -> None:
    """A local proxy may speak without TLS."""
    run = load(tmp_path, swap("wss://gateway.example:443", "ws://127.0.0.1:9999", LIVE))
    assert run.settings.gateway is not None


MODULES = {
    "good": "from nightdesk import Strategy\nclass Cross(Strategy):\n    pass\nprint('noise')\n",
    "broken": "import no_such_module_of_mine\n",
    "loud": "raise RuntimeError('two\\nlines')\n",
    "leaving": "raise SystemExit(3)\n",
    "dying": "import os\nos._exit(7)\n",
    "other": "class Cross:\n    pass\n",
    "syntax": "def broken(:\n",
}


UNUSABLE = {
    "broken:Cross": r"broken cannot be imported \(ModuleNotFoundError: No module named 'no_such_module_of_mine'\)",
    "loud:Cross": r"loud cannot be imported \(RuntimeError: two\)",
    "leaving:Cross": r"leaving cannot be imported \(SystemExit: 3\)",
    "dying:Cross": r"dying ends the process when it is imported",
    "syntax:Cross": r"syntax cannot be imported \(SyntaxError: .*line 1\)",
    "other:Cross": r"other:Cross is not a subclass of nightdesk\.Strategy",
    "good:Missing": r"good has no class Missing",
    "absent:Cross": r"absent cannot be imported \(ModuleNotFoundError",
}


def write_modules(folder: Path) -> None:
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text)


def test_each_class_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    """One process checks them all; none of them can prevent the check of the next."""
    write_modules(tmp_path)
    references = ["good:Cross", *UNUSABLE, "good:Cross"]
    faults = check_classes([ClassToCheck(reference, str(tmp_path)) for reference in references])
    assert [fault.position for fault in faults] == list(range(1, len(UNUSABLE) + 1))
    for fault, pattern in zip(faults, UNUSABLE.values(), strict=True):
        assert re.match(pattern, fault.text), fault.text
        assert "\n" not in fault.text


def test_strategies_that_take_too_long_to_import_are_told(tmp_path: Path) -> None:
    """A module that works while it is imported would keep a system from starting."""
    (tmp_path / "slow.py").write_text("import threading\nthreading.Event().wait(60)\n")
    faults = check_classes([ClassToCheck("slow:Cross", str(tmp_path))], timeout_s=0.5)
    assert "within 0.5 s" in faults[0].text


def test_strategy_class_that_cannot_be_imported_names_file_line_and_key(tmp_path: Path) -> None:
    """The fault of the class is the complaint about its key."""
    write_modules(tmp_path)
    text = swap("mine.cross:Cross", "good:Cross\n    path: .").replace(
        "alerts:", "  - name: second\n    class: broken:Cross\n    path: .\n    symbols: [ESZ6]\nalerts:"
    )
    (tmp_path / "desk.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"desk\.yaml:12: strategies\[1\]\.class: broken cannot be imported"):
        load_settings(tmp_path / "desk.yaml", environ={})


def test_good_strategies_are_not_imported_into_this_process(tmp_path: Path) -> None:
    """Two modules of one name in two folders are both found, and neither stays in our process."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine_alone.py").write_text(MODULES["good"])
    first = swap("mine.cross:Cross", "mine_alone:Cross\n    path: one")
    second = "  - {name: second, class: 'mine_alone:Cross', path: two, symbols: [ESZ6]}\nalerts:"
    (tmp_path / "desk.yaml").write_text(first.replace("alerts:", second))
    load_settings(tmp_path / "desk.yaml", environ={})
    assert "mine_alone" not in sys.modules


def test_verbs_need_only_name_and_folders(tmp_path: Path) -> None:
    """Undefined variables and mistakes elsewhere do not keep an operator from stopping a system."""
    text = "name: ${DESK}\nmode: live\ngateway: {url: '${UNSET}', typo: 1}\nruntime_dir: r\n"
    (tmp_path / "desk.yaml").write_text(text)
    folders = load_folders(tmp_path / "desk.yaml", environ={"DESK": "desk", "XDG_STATE_HOME": "/x"})
    assert folders.name == "desk"
    assert folders.runtime_dir == str(tmp_path / "r")
    assert folders.state_dir == "/x/nightdesk/desk"
    with pytest.raises(ConfigurationError, match=r"desk\.yaml:1: name: the environment variable DESK is not set"):
        load_folders(tmp_path / "desk.yaml", environ={})


def test_bare_name_is_looked_up_among_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of that name where the user stands comes first."""
    monkeypatch.chdir(tmp_path)
    assert find_config("live.yaml") == CONFIG_FOLDER / "live.yaml"
    (tmp_path / "live.yaml").touch()
    assert find_config("live.yaml") == Path("live.yaml")


@pytest.mark.parametrize("name", ["sim", "simulator"])
def test_shipped_example_loads(name: str) -> None:
    """What ships for the embedded exchange works as it is."""
    assert load_settings(f"{name}.yaml", environ={}, check_strategies=False).settings.mode == "sim"


def test_shipped_live_file_says_in_one_line_what_to_fill_in() -> None:
    """Nobody trades real money by accident, and nobody has to try five times."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings("live.yaml", environ={})
    line = str(caught.value)
    for word in ("armed: true", "RITHMIC_GATEWAY", "RITHMIC_SYSTEM", "RITHMIC_USER", "RITHMIC_PASSWORD"):
        assert word in line


@pytest.mark.parametrize("name", ["paper", "live"])
def test_filled_in_example_loads(tmp_path: Path, name: str) -> None:
    """A copy with ``armed: true`` and the four variables is complete."""
    text = (CONFIG_FOLDER / f"{name}.yaml").read_text().replace("armed: false", "armed: true")
    environ = {
        "RITHMIC_GATEWAY": "wss://127.0.0.1:1",
        "RITHMIC_SYSTEM": "S",
        "RITHMIC_USER": "",
        "RITHMIC_PASSWORD": "",
    }
    settings = load(tmp_path, text, **environ).settings
    assert settings.gateway is not None
    assert settings.gateway.url == "wss://127.0.0.1:1"


def test_folder_is_created_for_its_user_alone(tmp_path: Path) -> None:
    """Every folder that is created on the way has mode 0700."""
    prepare_folder("state_dir", tmp_path / "a" / "b")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def _writable_by_others(folder: Path) -> Path:
    (folder / "s").mkdir()
    (folder / "s").chmod(0o777)
    return folder / "s"


def _in_a_shared_folder(folder: Path) -> Path:
    (folder / "p").mkdir()
    (folder / "p").chmod(0o777)
    return folder / "p" / "s"


def _a_link(folder: Path) -> Path:
    (folder / "s").symlink_to(folder)
    return folder / "s"


def _a_file(folder: Path) -> Path:
    (folder / "s").touch()
    return folder / "s"


@pytest.mark.parametrize(
    ("make", "pattern"),
    [
        (_writable_by_others, "others may write to .* chmod 700"),
        (_in_a_shared_folder, "others may rename"),
        (_a_link, "is not a folder"),
        (_a_file, "is not a folder"),
    ],
)
def test_folder_that_is_not_ours_alone_is_refused(tmp_path: Path, make: Callable[[Path], Path], pattern: str) -> None:
    """Nobody else may put a socket or a journal in our way."""
    with pytest.raises(ConfigurationError, match=pattern):
        prepare_folder("state_dir", make(tmp_path))


def test_second_run_in_one_folder_is_refused_and_names_the_first(tmp_path: Path) -> None:
    """The lock ends with its holder."""
    assert not is_locked(str(tmp_path))
    owner = Holder(os.getpid(), "desk", "/etc/desk.yaml")
    lock = lock_folder("state_dir", str(tmp_path), owner)
    assert is_locked(str(tmp_path))
    words = rf"desk is running already: state_dir {tmp_path} is in use \(desk, process {os.getpid()}, /etc/desk.yaml\)"
    with pytest.raises(ConfigurationError, match=words):
        lock_folder("state_dir", str(tmp_path), owner)
    lock.release()
    assert not is_locked(str(tmp_path))
    lock_folder("state_dir", str(tmp_path), owner).release()


def test_tree_has_the_children_of_the_configuration_in_start_order(tmp_path: Path) -> None:
    """Services, exchange, plants, strategies; each child with the supervision that its section says."""
    text = swap("    symbols", "    supervision: {intensity: 2, on_give_up: escalate}\n    symbols")
    run = load(tmp_path, text)
    tree = build_tree(run)
    assert [child.id for child in tree.children] == ["services", "exchange", "plants", "strategies"]
    below = {spec.id: spec for child in tree.children if child.config[:1] != b"{" for spec in [unpack(child.config)]}
    flat = [
        item
        for child in tree.children
        for item in (child.id, *(c.id for c in (below[child.id].children if child.id in below else ())))
    ]
    assert flat == list(all_children(run.settings))
    cross = below["strategies"].children[0]  # type: ignore[index]
    assert (cross.intensity, cross.on_give_up) == (2, GiveUp.ESCALATE)
    assert RunConfiguration.from_json(cross.config) == run


def test_tree_of_a_live_configuration_has_no_exchange(tmp_path: Path) -> None:
    """The exchange belongs to mode sim."""
    assert [child.id for child in build_tree(load(tmp_path, LIVE)).children] == ["services", "plants", "strategies"]


def test_shipped_examples_are_yaml_that_any_parser_reads() -> None:
    """Our reader adds rules to YAML and takes none away."""
    for path in CONFIG_FOLDER.glob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text()), dict)
