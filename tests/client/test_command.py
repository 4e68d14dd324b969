"""The command without a server: what it keeps, how it ends, what it says."""

from __future__ import annotations

import ast
import io
import json
import stat
import sys
from pathlib import Path

import pytest
from stoker_client.cli import exit_code, run, show
from stoker_client.cli.common import seconds

from tests.client.test_transport import JOB, problem
from tests.conftest import free_port


@pytest.mark.parametrize(
    ("statuses", "code"),
    [(["completed"], 0), (["failed"], 1), (["cancelled"], 2), (["completed", "cancelled", "failed"], 1), ([], 0)],
)
def test_how_jobs_ended_is_a_number(statuses, code):
    assert exit_code(statuses) == code


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), ("15m", 900), ("1.5h", 5400), ("2 d", 172800)])
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("value", ["0", 0.0015, 1234.5, None])
def test_money_never_hides_a_small_sum(value):
    assert show.money(value) in ("$0.00", "$0.0015", "$1,234.50", "–")


def test_what_others_wrote_commands_no_terminal():
    assert show.plain("a\x1b[31mb [bold]c[/]") == "a�\\[31mb \\[bold]c\\[/]"


def test_login_keeps_the_token_where_only_its_owner_reads_it(stoker, server, home):
    server.answers = [(200, {}, {"username": "ada"})]
    said = stoker("login", server.url + "/", "--token", "stk_u_secret")
    assert said.code == 0
    assert f"Signed in to {server.url} as ada." in said.out
    assert "stk_u_secret" not in said.out + said.err
    kept = home / "login.json"
    assert json.loads(kept.read_text()) == {"url": server.url, "token": "stk_u_secret"}
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stoker("whoami").out == f"ada at {server.url}\n"
    assert server.asked[-1].headers["Authorization"] == "Bearer stk_u_secret"
    assert "forgotten" in stoker("logout").out
    assert not kept.exists()


def test_the_token_may_come_from_stdin_and_is_not_asked_for_without_a_terminal(stoker, server, home, monkeypatch):
    server.answers = [(200, {}, {"username": "ada"})]
    monkeypatch.setattr(sys, "stdin", io.StringIO("stk_u_piped\n"))
    assert stoker("login", server.url).code == 4
    assert stoker("login", server.url, "--token", "-").code == 0
    assert json.loads((home / "login.json").read_text())["token"] == "stk_u_piped"


def test_a_wrong_token_is_not_kept(stoker, server, home):
    server.answers = [problem(401, detail="This API token is not known.")]
    said = stoker("login", server.url, "--token", "wrong")
    assert said.code == 4
    assert said.err.startswith("This API token is not known.\n")
    assert not (home / "login.json").exists()


def test_the_environment_outdoes_the_last_login(stoker, server, monkeypatch):
    server.answers = [(200, {}, {"username": "ada"})]
    stoker("login", server.url, "--token", "kept")
    monkeypatch.setenv("STOKER_TOKEN", "other")
    stoker("whoami")
    assert server.asked[-1].headers["Authorization"] == "Bearer other"
    monkeypatch.setenv("STOKER_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("STOKER_TOKEN")
    said = stoker("whoami")  # a token is never sent to another server than it was given for
    assert said.code == 4
    assert "the kept token is for" in said.err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["whoami"], 4, "Nobody is signed in."),
        (["login", "stoker.example.org", "--token", "x"], 4, "is no address"),
        (["jobs", "frobnicate"], 64, "No such command"),
        (["jobs", "create", "--max-duration", "soon"], 64, "is no duration"),
        (["jobs", "create", "--set", "r"], 64, "is no setting"),
        (["jobs", "create", "--file", "/nowhere.json"], 64, "cannot be read"),
        (["jobs", "create", "--count", "none"], 64, "--count"),
        (["costs", "--from", "yesterday"], 4, "Nobody is signed in."),
    ],
)
def test_whatever_goes_wrong_is_a_sentence(stoker, words, code, sentence):
    said = stoker(*words)
    assert said.code == code
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_a_file_of_a_job_must_be_an_object(stoker, tmp_path):
    for text, sentence in (("{", "is not JSON"), ("[]", "holds no JSON object")):
        (tmp_path / "job.json").write_text(text)
        said = stoker("jobs", "create", "--file", str(tmp_path / "job.json"))
        assert (said.code, sentence in said.err) == (64, True)


def test_options_outdo_the_file(stoker, server, tmp_path, monkeypatch):
    monkeypatch.setenv("STOKER_URL", server.url)
    monkeypatch.setenv("STOKER_TOKEN", "x")
    file = tmp_path / "job.json"
    file.write_text(json.dumps({
        "name": "in the file", "dataset": JOB["id"], "base_model": "a/b", "preset": "balanced",
        "hyperparameters": {"r": 8, "max_steps": 5}, "gpu_config": {"provider": "local", "count": 1},
    }))  # fmt: skip
    server.answers = [(201, {}, JOB | {"url": "/jobs/x/"})]
    said = stoker(
        "jobs", "create", "--file", str(file), "--name", "typed", "--set", "r=16", "--set", "optim=adamw_torch",
        "--provider", "runpod", "--gpu", "H100", "--fallback", "A100:secure", "--fallback", "L40S", "--budget", "5",
        "--max-duration", "6h", "--preset", "none", "--max-attempts", "2", "--start", "--key", "k",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert server.asked[0].headers["Idempotency-Key"] == "k"
    assert json.loads(server.asked[0].body) == {
        "name": "typed", "dataset": JOB["id"], "base_model": "a/b", "preset": None,
        "hyperparameters": {"r": 16, "max_steps": 5, "optim": "adamw_torch"},
        "gpu_config": {"provider": "runpod", "count": 1, "type": "H100",
                       "fallbacks": [{"type": "A100", "cloud": "secure"}, {"type": "L40S"}]},
        "budget_limit": "5.00", "max_duration": 21600, "retry_policy": {"max_attempts": 2}, "start": True,
    }  # fmt: skip


def test_every_wrong_field_is_told(stoker, server, monkeypatch):
    monkeypatch.setenv("STOKER_URL", server.url)
    monkeypatch.setenv("STOKER_TOKEN", "x")
    errors = [{"field": "name", "message": "Give it one."}, {"field": "", "message": "And more."}]
    server.answers = [problem(400, errors=errors)]
    said = stoker("jobs", "create")
    assert (said.code, said.err) == (4, "name: Give it one.\nAnd more.\n")


def test_a_server_that_is_away_is_a_sentence(stoker, monkeypatch):
    monkeypatch.setattr("stoker_client.transport.FIRST_PAUSE", 60.0)  # longer than its patience
    said = stoker("login", f"http://127.0.0.1:{free_port()}", "--token", "x")
    assert said.code == 4
    assert "cannot be used now" in said.err


def test_names_and_beginnings_of_ids_find_one_job_or_say_why_not(stoker, server, monkeypatch):
    monkeypatch.setenv("STOKER_URL", server.url)
    monkeypatch.setenv("STOKER_TOKEN", "x")
    other = JOB | {"id": "7b32c47f-0000-4e1d-a860-f6d797c8d408", "name": "second"}
    rows = {"results": [JOB, other, JOB | {"id": "aaaaaaaa-0000-4e1d-a860-f6d797c8d408"}], "next": None}
    for called, sentence in (("first", "2 of your jobs"), ("7b32", "2 of your jobs"), ("third", "You have no job")):
        server.answers = [(200, {}, rows)]
        said = stoker("jobs", "delete", called)
        assert (said.code, sentence in said.err) == (4, True), said
    for called in ("second", "7b32c47f"):
        server.answers = [(200, {}, rows), (204, {}, b"")]
        assert stoker("jobs", "delete", called).code == 0
        assert server.asked[-1].path == f"/api/jobs/{other['id']}/"


def test_the_package_needs_nothing_of_the_server():
    folder = Path(sys.modules["stoker_client"].__file__ or "").parent
    allowed = set(sys.stdlib_module_names) | {"httpx", "rich", "typer", "stoker_client"}
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {module.partition(".")[0] for module in modules} <= allowed, file


def test_help_names_every_command(capsys):
    assert run(["jobs", "--help"]) == 0
    told = capsys.readouterr().out
    for command in ("create", "list", "show", "watch", "logs", "cancel", "wait", "download", "resume", "retry"):
        assert command in told
