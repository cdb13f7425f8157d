"""`intertie demo` as a stranger runs it: the whole play, a changed byte, an end before its time."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "intertie_node.cli", "demo"]
PATH = ["north.example", "hub.example", "south.example"]
TIMEOUT_S = 280
pytestmark = pytest.mark.timeout(TIMEOUT_S + 20)


@pytest.fixture
def short_folder():
    """A folder with a short path, since sockets are made in it."""
    with tempfile.TemporaryDirectory(prefix="td-") as folder:
        yield Path(folder)


def play(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Run the demo with `folder` as the place of temporary files."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run([*DEMO, *options], capture_output=True, text=True, timeout=TIMEOUT_S, env=environment)


def serving(folder: Path) -> list[str]:
    """Command lines of processes that name `folder`."""
    listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


def debts(shown: dict, debtor: str, creditor: str) -> list[dict]:
    """What the debtor owes the creditor by each exported file of their link."""
    link = next(link for link in shown["links"] if set(link["grids"]) == {debtor, creditor})
    return [export["owes"][debtor] for export in link["exports"]]


def test_everything_holds(short_folder):
    done = play(short_folder, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["ok"] is True
    assert shown["balances_agree"] is True
    assert [grid["name"] for grid in shown["grids"]] == PATH
    assert len({grid["fingerprint"] for grid in shown["grids"]}) == 3
    check_invocations(shown)
    check_money(shown)
    check_logs(shown)
    assert [(each["reason"], each["offer"]) for each in shown["refused"]] == [
        ("BUDGET_EXCEEDED", "south.example/protocol/explain")
    ]
    stream = shown["stream"]
    assert stream["gapless"]
    assert stream["text_is_the_signed_one"]
    assert 0 < stream["chunks_before_break"] < stream["chunks"]
    assert list(short_folder.iterdir()) == []
    assert serving(short_folder) == []


def check_invocations(shown: dict) -> None:
    invocations = shown["invocations"]
    assert [each["path"] for each in invocations] == [PATH] * len(invocations)
    assert {each["executed_by"] for each in invocations} == {"south.example"}
    assert sorted(each["state"] for each in invocations) == ["CANCELED", *["COMPLETED"] * 4]
    assert [each["offer"] for each in invocations][:3] == [
        "south.example/git/log",
        "south.example/time/now",
        "south.example/protocol/ask",
    ]
    assert all(int(each["charge"]) > 0 for each in invocations)
    by_offer = {each["offer"].partition("/")[2]: each for each in invocations if each["state"] == "COMPLETED"}
    assert by_offer["git/log"]["energy"] == {"method": "unknown"}
    energy, usage = by_offer["protocol/explain"]["energy"], by_offer["protocol/explain"]["usage"]
    assert energy["method"] == "estimated"
    assert 0 < int(energy["lower"]) <= int(energy["millijoules"]) <= int(energy["upper"])
    streamed = next(each for each in invocations if each["id"] == shown["stream"]["id"])
    assert streamed["usage"] == usage
    assert int(usage["text.output.byte"]) == shown["stream"]["bytes"]


def check_money(shown: dict) -> None:
    bought = debts(shown, "north.example", "hub.example")
    resold = debts(shown, "hub.example", "south.example")
    for both in (bought, resold):
        assert both[0] == both[1]
        assert both[0]["posted"] == both[0]["agreed"] == both[0]["charged"]
    charges = sum(int(each["charge"]) for each in shown["invocations"])
    assert int(bought[0]["agreed"]) == charges == int(shown["account"]["spent"])
    assert int(shown["margin"]) == charges - int(resold[0]["agreed"]) > 0
    assert int(shown["account"]["reserved"]) == 0
    assert {debt["posted"] for debt in debts(shown, "hub.example", "north.example")} == {"0"}


def check_logs(shown: dict) -> None:
    for link in shown["links"]:
        assert all(export["verified"] for export in link["exports"])
        entries = [line for line in link["log"] if line["seq"]]
        assert len(entries) == sum(link["exports"][0]["entries"].values())
        kinds = [line["kind"] for line in entries]
        assert kinds.count("order") == len(shown["invocations"])
        assert kinds.count("cancel") == 1
        assert "grant" in kinds
        for grid in link["grids"]:
            assert [line["seq"] for line in entries if line["writer"] == grid] == list(
                range(1, link["exports"][0]["entries"][grid] + 1)
            )


def test_a_changed_byte_is_named(short_folder):
    done = play(short_folder, "--json", "--tamper")
    assert done.returncode == 1
    shown = json.loads(done.stdout)
    assert shown["ok"] is False
    assert shown["balances_agree"] is False
    assert shown["tampered"]["before"] != shown["tampered"]["after"]
    exports = [export for link in shown["links"] for export in link["exports"]]
    bad = [export for export in exports if not export["verified"]]
    assert [export["file"] for export in bad] == [shown["tampered"]["file"]]
    assert bad[0]["fault"]["reason"] in done.stderr
    assert "hub.example's file on north.example" in done.stderr
    assert list(short_folder.iterdir()) == []


def test_nothing_is_left_when_it_is_ended_early(short_folder):
    process = subprocess.Popen(
        DEMO,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(short_folder)},
    )
    for line in process.stderr:
        if "searching offers" in line:
            break
    assert len([line for line in serving(short_folder) if " serve " in line]) == 3
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert list(short_folder.iterdir()) == []
    end = time.monotonic() + 10
    while serving(short_folder) and time.monotonic() < end:
        time.sleep(0.1)
    assert serving(short_folder) == []
