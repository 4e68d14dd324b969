"""The product as one thing to start and stop, with real processes."""

import fcntl
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import psutil
import pytest

from pipeline.config.env import Refused
from pipeline.config.home import running_at
from pipeline.config.supervisor import ROOT, Stack
from tests.conftest import FOLDER, OUTSIDE, WORKER, free_port
from tests.waiting import until

pytestmark = pytest.mark.e2e


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.status, answer.headers, answer.read()


def ended(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_the_product_answers_and_beat_reaches_the_database(stack):
    assert get(f"{stack.url}/healthz")[0] == 200
    until(lambda: b'"background": "ok"' in get(f"{stack.url}/readyz")[2], 60, "a sign of life of beat and worker")


@pytest.mark.parametrize("name", ["web", "worker", "beat", "reconcile"])
def test_a_killed_process_is_started_again(stack, name):
    before, starts = until(lambda: stack.pid(name)), stack.starts(name)
    stack.kill(name)
    until(lambda: stack.starts(name) > starts and stack.pid(name) not in (None, before), 20, f"a new {name}")
    stack.wait_ready()


def test_requests_wait_while_web_starts_again(stack):
    stack.wait_ready()
    stack.kill("web")
    assert get(f"{stack.url}/healthz")[0] == 200


def test_static_files_are_compressed_and_kept_for_ever(stack):
    page = get(f"{stack.url}/sign-in/")[2].decode()
    path = re.search(r'href="(/static/[^"]+/css/[^"]+\.css)"', page).group(1)
    request = urllib.request.Request(stack.url + path, headers={"Accept-Encoding": "gzip"})
    status, headers, body = get(request)
    assert status == 200
    assert headers["content-encoding"] == "gzip"
    assert "immutable" in headers["cache-control"]
    assert headers["x-content-type-options"] == "nosniff"
    assert int(headers["content-length"]) == len(body)


def test_pages_carry_a_strict_content_policy(stack):
    headers = get(f"{stack.url}/sign-in/")[1]
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["permissions-policy"]
    assert headers["x-frame-options"] == "DENY"


def test_a_second_stack_on_the_folder_is_refused_with_a_sentence(stack):
    second = Stack(stack.home, port=free_port(), environment=OUTSIDE)
    with pytest.raises(Refused, match=rf"already runs on .*{stack.url}, process \d+"):
        second.start()


def test_a_taken_port_is_refused_with_a_sentence(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Refused, match=rf"Port {port} on 127.0.0.1 cannot be used: .* make run PORT=8001"):
            Stack(tmp_path, port=port, environment=OUTSIDE).start()
    assert not (tmp_path / "postgres").exists()


def test_a_link_signs_a_user_in_once(stack):
    link = stack.manage("sign_in_link", "ada", "--create").strip()
    assert link.startswith(stack.url)
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(link, timeout=10) as answer:
        assert answer.url.rstrip("/").endswith("/jobs")


def test_where_a_product_runs_is_known_while_it_runs(tmp_path):
    assert running_at(tmp_path) is None
    with open(tmp_path / "stack.lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("http://127.0.0.1:8411, process 1\n")
        lock.flush()
        assert running_at(tmp_path) == "http://127.0.0.1:8411"
    assert running_at(tmp_path) is None


@pytest.fixture
def own_stack():
    """`manage.py stack` as a person runs it, on a folder of its own."""
    home = FOLDER / f"own-{WORKER}"
    environment = {**OUTSIDE, "STOKER_HOME": str(home), "PORT": str(free_port())}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "stack"],
        cwd=ROOT, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said = []
    for line in process.stdout:
        said.append(line)
        if "Ready after" in line:
            break
    assert process.poll() is None, "".join(said)
    process.stack = Stack(home, port=int(environment["PORT"]), environment=OUTSIDE)
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    # Takes over the database that a killed supervisor leaves behind, and stops it.
    with process.stack:
        pass


def test_an_interrupt_stops_everything_within_seconds(own_stack):
    supervisor = psutil.Process(own_stack.pid)
    children = supervisor.children(recursive=True)
    assert {"pipeline.config.web", "worker", "beat"} <= {word for child in children for word in child.cmdline()}
    own_stack.send_signal(signal.SIGINT)
    assert own_stack.wait(15) == 0
    assert own_stack.stdout.read().rstrip().endswith("Stopped.")
    assert all(ended(child) for child in children)
    assert not list((own_stack.stack.home / "postgres").glob("postmaster.pid"))


def test_no_process_survives_a_killed_supervisor_but_a_detached_training_does(own_stack):
    children = psutil.Process(own_stack.pid).children(recursive=True)
    worker = next(child for child in children if "worker" in child.cmdline())
    # A worker starts a training in a session of its own; a bystander in such a session stands for it here.
    training = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        own_stack.kill()
        own_stack.wait()
        until(lambda: all(ended(child) for child in children), 20, "the end of web, worker and beat")
        assert ended(worker)
        assert training.poll() is None
    finally:
        training.kill()
        training.wait()


def test_leash_ends_a_program_whose_starter_dies():
    leash = ROOT / "pipeline/config/leash.py"
    for watch in ("", "import leash; leash.sys = type(sys)('sys'); leash.sys.platform = 'elsewhere';"):
        starter = subprocess.Popen(
            [
                sys.executable, "-c",
                "import os, subprocess, sys, time\n"
                f"code = \"import sys; sys.path.insert(0, {str(leash.parent)!r}); {watch or 'import leash;'}"
                " sys.exit(leash.main(sys.argv[1:]))\"\n"
                "p = subprocess.Popen([sys.executable, '-c', code, str(os.getpid()), '/bin/sleep', '60'])\n"
                "print(p.pid, flush=True); time.sleep(60)",
            ],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        leashed = psutil.Process(int(starter.stdout.readline()))
        until(lambda leashed=leashed: "sleep" in str([leashed.cmdline(), *(c.cmdline() for c in leashed.children())]))
        family = [leashed, *leashed.children()]
        starter.kill()
        starter.wait()
        starter.stdout.close()
        until(lambda family=family: all(ended(process) for process in family), 10, "the end of the leashed program")


def test_uvicorn_serves_the_same_application():
    home = FOLDER / f"uvicorn-{WORKER}"
    with Stack(home, port=free_port(), environment={**OUTSIDE, "STOKER_WEB_SERVER": "uvicorn"}) as running:
        running.wait_ready()
        status, headers, _ = get(f"{running.url}/sign-in/")
        assert status == 200
        assert "uvicorn" not in str(headers.get("server")).lower()


def test_manage_commands_start_the_database_for_their_duration():
    home = FOLDER / f"alone-{WORKER}"
    environment = {**OUTSIDE, "STOKER_HOME": str(home)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "shell", "--no-imports", "-c",
             "from django.db import connection as c; c.ensure_connection(); print('connected')"],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout == "connected\n", done.stderr
        assert not (home / "postgres" / "postmaster.pid").exists()


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("PORT", "eighty", "PORT is 'eighty', but it must be a whole number."),
        ("DATABASE_URL", "mysql://x/y", "DATABASE_URL begins with 'mysql', but only PostgreSQL is supported"),
        ("SECRET_KEY", "short", "SECRET_KEY has 5 characters, but it needs at least 50"),
        ("STOKER_PUBLIC_URL", "example.org", "STOKER_PUBLIC_URL is 'example.org', but it must begin with http:// or"),
    ],
)
def test_a_refused_setting_is_one_sentence_and_no_traceback(tmp_path, variable, value, sentence):
    environment = {**OUTSIDE, "STOKER_HOME": str(tmp_path), variable: value}
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "check"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
