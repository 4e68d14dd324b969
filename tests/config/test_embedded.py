"""The embedded servers keep their data and come up again, whatever was killed before."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from pipeline.config.embedded import Postgres, Valkey
from pipeline.config.env import Refused
from tests.waiting import until

ROOT = Path(__file__).parents[2]
# Attaches to the server in the folder it is told and says so; lets go when its input ends.
HOLDER = """
import sys
from pathlib import Path
from pipeline.config import embedded
service = getattr(embedded, sys.argv[1])(Path(sys.argv[2]))
service.attach()
print("attached", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("home")
    yield path
    for service in (Postgres(path / "postgres"), Valkey(path / "valkey")):
        if process := service.process():
            process.kill()


def holder(kind: str, folder: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, kind, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"attached\n"
    process.stdout.close()
    return process


def let_go(process: subprocess.Popen) -> None:
    process.stdin.close()
    assert process.wait(20) == 0


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.wait(5)
    process.stdin.close()


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def rows(postgres: Postgres) -> list[int]:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        found = [row[0] for row in connection.execute("SELECT n FROM kept ORDER BY n")]
        connection.execute("INSERT INTO kept VALUES (%s)", (len(found),))
        return found


def test_postgres_runs_while_somebody_is_attached_and_keeps_its_data(folder):
    postgres = Postgres(folder / "postgres")
    first, second = holder("Postgres", postgres.folder), holder("Postgres", postgres.folder)
    assert rows(postgres) == []
    let_go(first)
    assert rows(postgres) == [0]
    server = postgres.process()
    let_go(second)
    until(lambda: ended(server), 10, "the server to end")
    third = holder("Postgres", postgres.folder)
    assert rows(postgres) == [0, 1]
    let_go(third)


def test_postgres_comes_back_after_everything_was_killed(folder):
    postgres = Postgres(folder / "postgres")
    user = holder("Postgres", postgres.folder)
    assert rows(postgres) == []
    # The main process alone: its children live on for a moment and hold the shared memory.
    os.kill(postgres.process().pid, signal.SIGKILL)
    kill(user)
    again = holder("Postgres", postgres.folder)
    assert rows(postgres) == [0]
    let_go(again)


def test_a_postgres_left_behind_is_taken_over(folder):
    postgres = Postgres(folder / "postgres")
    kill(holder("Postgres", postgres.folder))
    server = postgres.process()
    again = holder("Postgres", postgres.folder)
    assert postgres.process() == server
    let_go(again)
    assert ended(server)


def test_a_process_id_that_another_program_has_got_since_does_not_stop_postgres(folder):
    postgres = Postgres(folder / "postgres")
    let_go(holder("Postgres", postgres.folder))
    (postgres.folder / "postmaster.pid").write_text(f"{os.getpid()}\n{postgres.folder}\n1\n5432\n\n\n1 1\nready\n")
    assert postgres.process() is None
    again = holder("Postgres", postgres.folder)
    assert rows(postgres) == []
    let_go(again)


def test_an_interrupted_first_start_leaves_nothing_half_made(folder):
    postgres = Postgres(folder / "postgres")
    draft = folder / "postgres.new"
    draft.mkdir()
    (draft / "PG_VERSION").write_text("18")
    let_go(holder("Postgres", postgres.folder))
    assert not draft.exists()


def test_data_of_another_version_is_refused_with_a_sentence(folder):
    postgres = Postgres(folder / "postgres")
    postgres.folder.mkdir()
    (postgres.folder / "PG_VERSION").write_text("16\n")
    with pytest.raises(Refused, match=r"was made by PostgreSQL 16, but this release brings 18"):
        postgres.attach()


def test_only_the_owner_reaches_the_sockets(folder):
    postgres, valkey = Postgres(folder / "postgres"), Valkey(folder / "valkey")
    users = holder("Postgres", postgres.folder), holder("Valkey", valkey.folder)
    assert postgres.socket_folder.stat().st_mode & 0o077 == 0
    assert valkey.socket.parent.stat().st_mode & 0o077 == 0
    for server in (postgres.process(), valkey.process()):
        assert not server.net_connections("inet")
    for user in users:
        let_go(user)


def test_a_path_too_long_for_a_socket_works(folder):
    deep = folder / ("d" * 100)
    postgres, valkey = Postgres(deep / "postgres"), Valkey(deep / "valkey")
    users = holder("Postgres", postgres.folder), holder("Valkey", valkey.folder)
    assert rows(postgres) == []
    assert redis.Redis(unix_socket_path=str(valkey.socket)).ping()
    for user in users:
        let_go(user)
    postgres.socket_folder.rmdir()
    valkey.socket.unlink(missing_ok=True)
    valkey.socket.parent.rmdir()


def test_valkey_refuses_writes_rather_than_forgetting_and_comes_back_when_killed(folder):
    valkey = Valkey(folder / "valkey")
    user = holder("Valkey", valkey.folder)
    with redis.Redis(unix_socket_path=str(valkey.socket)) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    server = valkey.process()
    os.kill(server.pid, signal.SIGKILL)
    kill(user)
    until(lambda: ended(server))
    again = holder("Valkey", valkey.folder)
    with redis.Redis(unix_socket_path=str(valkey.socket)) as client:
        assert client.ping()
    server = valkey.process()
    let_go(again)
    assert ended(server)
