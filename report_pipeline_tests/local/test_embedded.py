"""The embedded DynamoDB as its users see it: shared within a home, apart between homes, kept over a stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from report_pipeline.aws import Aws, connect
from report_pipeline.errors import CallerMistake, PermanentFailure, TransientFailure
from report_pipeline.local.embedded import EmbeddedPaths, running
from report_pipeline.local.processes import FileLock
from report_pipeline.settings import Settings, load_settings

pytestmark = pytest.mark.integration


def put(aws: Aws, text: str) -> None:
    client: Any = aws.client()
    if "things" not in client.list_tables()["TableNames"]:
        client.create_table(
            TableName="things",
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    client.put_item(TableName="things", Item={"name": {"S": text}})


def things(aws: Aws) -> set[str]:
    client: Any = aws.client()
    return {item["name"]["S"] for item in client.scan(TableName="things")["Items"]}


def state(settings: Settings) -> dict[str, Any]:
    return dict(json.loads(EmbeddedPaths(settings.home).state.read_text()))


def is_running(pid: int) -> bool:
    """Whether a process that nobody has to reap any more exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True


def wait_until(condition: Any, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


USER = textwrap.dedent("""
    import sys, time
    from report_pipeline.aws import connect
    from report_pipeline.settings import load_settings
    with connect(load_settings()) as aws:
        print(aws.endpoint_url, flush=True)
        sys.stdin.readline()
""")


@pytest.fixture
def users(settings: Settings) -> Iterator[list["subprocess.Popen[str]"]]:
    """Other processes that use the home's database; whatever is left of them afterwards is ended."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for user in started:
        user.kill()
        user.communicate()
    with running(settings):
        pass  # an orphan, if the test left one, is used and so stopped


def start_user(users: list["subprocess.Popen[str]"]) -> "subprocess.Popen[str]":
    user = subprocess.Popen([sys.executable, "-c", USER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    users.append(user)
    return user


def first_line(user: "subprocess.Popen[str]") -> str:
    assert user.stdout is not None
    return user.stdout.readline().strip()


def test_what_was_written_survives_a_clean_stop(settings: Settings) -> None:
    with connect(settings) as aws:
        put(aws, "kept")
        pid = state(settings)["pid"]
    assert not is_running(pid)
    assert not EmbeddedPaths(settings.home).state.exists()
    with connect(settings) as aws:
        assert things(aws) == {"kept"}


def test_two_homes_have_their_own_ports_and_data(tmp_path: Path) -> None:
    with connect(load_settings(home=tmp_path / "a")) as a, connect(load_settings(home=tmp_path / "b")) as b:
        assert a.endpoint_url != b.endpoint_url
        put(a, "in a")
        put(b, "in b")
        assert (things(a), things(b)) == ({"in a"}, {"in b"})


def test_a_home_keeps_its_port(settings: Settings) -> None:
    with connect(settings) as first:
        pass
    with connect(settings) as second:
        assert first.endpoint_url == second.endpoint_url


def test_a_taken_port_is_passed_over(settings: Settings) -> None:
    with connect(settings) as aws:
        put(aws, "kept")
        port = state(settings)["port"]
    with socket.create_server(("127.0.0.1", port)), connect(settings) as aws:
        assert state(settings)["port"] != port
        assert things(aws) == {"kept"}


def test_a_taken_port_that_was_set_is_named_with_the_setting(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(CallerMistake, match=rf"127\.0\.0\.1:{port} .*REPORT_PIPELINE_EMBEDDED_PORT"),
            connect(load_settings(embedded_port=port)),
        ):
            pass


def test_users_within_one_process_share_one_database(settings: Settings) -> None:
    with connect(settings) as outer:
        pid = state(settings)["pid"]
        with connect(settings) as inner:
            assert inner == outer
        assert is_running(pid)
        put(outer, "still there")
    assert not is_running(pid)


def test_processes_that_start_at_once_share_one_and_the_last_stops_it(
    settings: Settings, users: list["subprocess.Popen[str]"]
) -> None:
    for _ in range(4):
        start_user(users)
    endpoints = {first_line(user) for user in users}
    assert len(endpoints) == 1
    pid = state(settings)["pid"]
    for user in users[1:]:
        user.communicate("\n", timeout=20)
        assert is_running(pid)
    users[0].communicate("\n", timeout=20)
    assert [user.returncode for user in users] == [0, 0, 0, 0]
    assert not is_running(pid)


def test_the_database_of_a_killed_user_is_used_and_stopped_by_the_next_command(
    settings: Settings, users: list["subprocess.Popen[str]"]
) -> None:
    user = start_user(users)
    first_line(user)
    orphan = state(settings)["pid"]
    with connect(settings) as aws:
        put(aws, "never saved by its own user")
        user.kill()
        user.wait()
    # The killed process was not the last one, so this stop saved the tables; orphan another one now.
    user = start_user(users)
    first_line(user)
    orphan = state(settings)["pid"]
    user.kill()
    user.wait()
    assert is_running(orphan)
    with connect(settings) as aws:
        assert state(settings)["pid"] == orphan
        assert things(aws) == {"never saved by its own user"}
    assert not is_running(orphan)


def test_ctrl_c_in_the_terminal_reaches_users_only(settings: Settings, users: list["subprocess.Popen[str]"]) -> None:
    user = subprocess.Popen(
        [sys.executable, "-c", USER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    users.append(user)
    first_line(user)
    pid = state(settings)["pid"]
    os.killpg(user.pid, signal.SIGINT)
    _, errors = user.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert "killed" not in errors
    assert not is_running(pid)
    assert EmbeddedPaths(settings.home).tables.exists()


def test_a_state_file_with_the_number_of_another_process_harms_nobody(settings: Settings) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        paths = EmbeddedPaths(settings.home)
        paths.home.mkdir(parents=True)
        paths.state.write_text(json.dumps({"pid": bystander.pid, "port": 1, "endpoint": "http://127.0.0.1:1"}))
        with connect(settings) as aws:
            put(aws, "fine")
            assert state(settings)["pid"] != bystander.pid
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def write_to_one_that_dies(settings: Settings) -> None:
    with connect(settings) as aws:
        put(aws, "lost")
        pid = state(settings)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid))
        put(aws, "never arrives")


def test_a_database_that_dies_is_reported_with_its_log(settings: Settings) -> None:
    paths = EmbeddedPaths(settings.home)
    with pytest.raises(TransientFailure, match=rf"ended unexpectedly\. Its log is {paths.log}"):
        write_to_one_that_dies(settings)
    with connect(settings) as aws:
        put(aws, "works again")


def test_one_that_hangs_and_has_no_other_user_is_started_anew(
    settings: Settings,
    users: list["subprocess.Popen[str]"],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("report_pipeline.local.embedded.HANG_SECONDS", 1.0)
    with connect(settings) as aws:
        put(aws, "kept")
    user = start_user(users)
    first_line(user)
    hanging = state(settings)["pid"]
    user.kill()
    user.wait()
    os.kill(hanging, signal.SIGSTOP)
    with connect(settings) as aws:
        assert state(settings)["pid"] != hanging
        assert things(aws) == {"kept"}
    assert "does not answer and is started anew" in caplog.text


def test_one_that_cannot_start_is_reported_with_its_log(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = EmbeddedPaths(settings.home)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TransientFailure, match=rf"did not start on .* Its log is {paths.log}"), connect(settings):
        pass
    monkeypatch.undo()
    with connect(settings) as aws:
        put(aws, "works again")


def test_a_home_that_is_no_folder_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = load_settings(home=tmp_path / "file")
    with pytest.raises(PermanentFailure, match=r"file.*REPORT_PIPELINE_HOME"), connect(settings):
        pass


def test_a_command_that_waits_too_long_for_a_lock_says_for_whom(tmp_path: Path) -> None:
    held, wanted = FileLock(tmp_path / "x.lock"), FileLock(tmp_path / "x.lock")
    try:
        assert held.try_acquire()
        with pytest.raises(TransientFailure, match=r"another command .*x\.lock"):
            wanted.acquire(0.1, "another command")
    finally:
        held.close()
        wanted.close()


def test_it_listens_on_loopback_only_and_on_one_port(settings: Settings) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("reads /proc")
    with connect(settings):
        current = state(settings)
        sockets = {
            str(entry.readlink()) for entry in Path(f"/proc/{current['pid']}/fd").iterdir() if entry.is_symlink()
        }
        listening = [
            line.split()
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
            if line.split()[3] == "0A"
        ]
        own = [fields[1] for fields in listening if f"socket:[{fields[9]}]" in sockets]
    assert own == [f"0100007F:{current['port']:04X}"]


def test_nothing_is_started_where_the_embedded_database_is_off(home: Path) -> None:
    with connect(load_settings(embedded=False)) as aws:
        assert aws == Aws(endpoint_url=None, region=None, embedded=False)
    assert not home.exists()
