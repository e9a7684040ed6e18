"""The local installation without a server: files, processes, jars, plan, command line."""

import json
import os
import signal
import stat
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.__main__ import main as services_main
from services.console.local import bootstrap, jars, kafka, plan, processes
from services.console.local.place import LocalError, Place
from services.console.main import build_parser
from services.console.main import main as cauce
from services.kit.settings import Settings


@pytest.fixture
def here(tmp_path: Path) -> Place:
    made = Place(root=tmp_path)
    made.make()
    return made


def test_the_socket_of_the_vault_fits_into_an_address(tmp_path: Path) -> None:
    assert Place(root=Path("/srv/cauce")).socket == Path("/srv/cauce/vault.sock")
    deep = Place(root=tmp_path / ("d" * 120))
    assert len(str(deep.socket)) < 104
    assert stat.S_IMODE(deep.socket.parent.stat().st_mode) == 0o700
    deep.socket.parent.rmdir()


def sleeper(name: str = "sleeper", seconds: int = 60) -> processes.Command:
    argv = [sys.executable, "-c", f"import time; time.sleep({seconds})"]
    return processes.Command(name=name, argv=argv, env={}, dies_with_us=True)


def test_a_secret_is_made_once_and_read_by_its_owner_alone(here: Place) -> None:
    first = here.secret("pg.consent")
    assert here.secret("pg.consent") == first
    assert stat.S_IMODE((here.secrets / "pg.consent").stat().st_mode) == 0o600
    assert stat.S_IMODE(here.secrets.stat().st_mode) == 0o700
    assert len(first) >= 32


def test_a_process_is_found_and_stopped(here: Place) -> None:
    pid = processes.start(here, sleeper())
    found = processes.find(here, "sleeper")
    assert found is not None
    assert found.pid == pid
    assert processes.stop(here, "sleeper")
    assert processes.find(here, "sleeper") is None
    assert not processes.stop(here, "sleeper")


def test_a_pid_that_now_belongs_to_another_program_is_left_alone(here: Place) -> None:
    processes.start(here, sleeper())
    file = here.pids / "sleeper.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "created": record["created"] - 100}))
    assert not processes.stop(here, "sleeper")
    assert psutil.Process(record["pid"]).is_running()
    os.kill(record["pid"], signal.SIGKILL)
    os.waitpid(record["pid"], 0)


def test_a_process_that_ends_while_starting_is_reported_with_its_cause(here: Place) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('ERROR the port is taken')"]
    processes.start(here, processes.Command(name="broken", argv=argv, env={}))
    with pytest.raises(LocalError, match=r"broken ended while starting: ERROR the port is taken"):
        processes.wait_until(here, "broken", lambda: False, timeout=10)


def test_a_full_disk_in_a_log_is_named_as_the_cause(here: Place) -> None:
    (here.logs / "kafka.log").write_text("x\njava.io.IOException: No space left on device\ny\n")
    assert processes.cause(here, "kafka").startswith("no space left on the disk")


def test_a_process_that_does_not_stop_is_killed(here: Place) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True);"
    argv = [sys.executable, "-c", code + "time.sleep(60)"]
    processes.start(here, processes.Command(name="deaf", argv=argv, env={}, dies_with_us=True))
    while not (here.logs / "deaf.log").read_text():
        time.sleep(0.01)
    assert processes.stop(here, "deaf", timeout=0.2)
    assert processes.find(here, "deaf") is None


def test_the_list_of_jars_is_complete_and_well_formed() -> None:
    listed = jars.expected()
    assert len(listed) == 46
    assert all(len(digest) == 64 for digest in listed.values())
    assert f"kafka_2.13-{jars.VERSION}.jar" in listed


def test_a_changed_or_missing_jar_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of b"foo"
    monkeypatch.setattr(jars, "expected", lambda: {"a.jar": good})
    with pytest.raises(LocalError, match=r"differ from the list at a\.jar"):
        jars.verify(tmp_path)
    (tmp_path / "a.jar").write_bytes(b"foo")
    jars.verify(tmp_path)
    (tmp_path / "a.jar").write_bytes(b"fop")
    with pytest.raises(LocalError, match=r"wrong checksum of a\.jar"):
        jars.verify(tmp_path)
    (tmp_path / "a.jar").write_bytes(b"foo")
    (tmp_path / "b.jar").write_bytes(b"")
    with pytest.raises(LocalError, match=r"differ from the list at b\.jar"):
        jars.verify(tmp_path)


def test_passwords_of_the_broker_are_not_in_its_repr(here: Place) -> None:
    broker = kafka.broker_of(here, port=1, controller_port=2)
    assert broker.admin_password not in repr(broker)
    assert broker.controller_password not in repr(broker)


def test_every_process_gets_its_whole_environment_and_nothing_of_ours(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRANGER", "x")
    settings = plan.local_settings(here, {"CAUCE_PUBLIC_PORT": "18080"})
    commands = plan.commands(here, settings)
    assert set(commands) == set(plan.EVERYBODY)
    for command in commands.values():
        assert "STRANGER" not in command.env
    again = Settings.from_environment(commands[plan.HUB].env)
    assert again.public_port == 18080
    assert again.secrets_dir == here.secrets
    assert not any(key.startswith("CAUCE_") for key in commands[plan.ONG].env)


def test_given_servers_are_used(here: Place) -> None:
    environment = {
        "DATABASE_URL": "postgresql://root:pw@db.internal:6432/postgres",
        "KAFKA_BOOTSTRAP_SERVERS": "k1:9092",
    }
    settings = plan.local_settings(here, environment)
    assert (settings.database_host, settings.database_port) == ("db.internal", 6432)
    assert settings.kafka_bootstrap == "k1:9092"


def test_a_full_disk_is_one_clear_line(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "DISK_NEEDED", 2**60)
    with pytest.raises(LocalError, match=r"the disk of .* MB are needed"):
        bootstrap.check_disk(here)


def test_a_local_error_is_one_line_and_a_status_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAUCE_RUN", str(tmp_path))
    monkeypatch.setenv("CAUCE_NONSENSE", "1")
    assert cauce(["status"]) == 1
    shown = capsys.readouterr().err
    assert shown == "cauce: setting CAUCE_NONSENSE: Extra inputs are not permitted\n"


def test_status_of_what_does_not_run_is_not_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAUCE_RUN", str(tmp_path))
    monkeypatch.setattr(bootstrap, "ready", lambda host, port: False)
    assert cauce(["status", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["ready"] is False
    assert {row["name"] for row in shown["parts"]} == set(bootstrap.ALL)
    assert {row["state"] for row in shown["parts"]} == {"stopped"}


def test_every_command_has_help_and_a_json_form() -> None:
    parser = build_parser()
    choices = next(a.choices for a in parser._actions if a.dest == "command")
    assert choices is not None
    assert {"up", "down", "status"} <= set(choices)


def test_a_service_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert services_main(["intake"]) == 2
    assert "there is no service 'intake'" in capsys.readouterr().err
