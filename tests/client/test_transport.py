"""What the client does when the server does not answer as it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stoker_client import Client, NotSignedIn, Refused, StillWaiting, StokerError, Unreachable

from tests.conftest import free_port

JOB = {"id": "7b32c47e-323e-4e1d-a860-f6d797c8d408", "name": "first", "status": "queued"}


def problem(status: int, **more: Any) -> tuple[int, dict[str, str], Any]:
    return status, {"Content-Type": "application/problem+json"}, {"detail": "No.", "code": "no", "errors": []} | more


def test_a_busy_server_is_asked_again_when_it_says(client, server, pauses):
    server.answers = [(429, {"Retry-After": "7"}, {}), (503, {"Retry-After": "2"}, {}), (200, {}, {"username": "ada"})]
    assert client.me() == {"username": "ada"}
    assert pauses == [7.0, 2.0]


def test_without_a_word_pauses_grow_until_patience_ends(client, server, pauses):
    server.answers = [(502, {}, b"<html>")]
    with pytest.raises(Unreachable, match="answers 502 Bad Gateway"):
        client.me()
    assert 0.4 <= pauses[0] <= 0.6
    assert max(pauses) <= 12
    assert 45 <= sum(pauses) <= 60


def test_a_server_that_asks_for_more_patience_than_there_is_ends_it_at_once(client, server, pauses):
    server.answers = [(429, {"Retry-After": "3600"}, {})]
    with pytest.raises(Unreachable):
        client.me()
    assert pauses == []


def test_a_creation_whose_answer_was_lost_is_sent_again_with_its_key(client, server):
    server.answers = [None, (201, {}, JOB)]
    job = client.jobs.create(name="first", dataset="x", base_model="a/b")
    assert job.name == "first"
    assert [one.method for one in server.asked] == ["POST", "POST"]
    keys = {one.headers["Idempotency-Key"] for one in server.asked}
    assert len(keys) == 1
    assert server.asked[0].body == server.asked[1].body


def test_two_creations_have_two_keys(client, server):
    server.answers = [(201, {}, JOB)]
    client.jobs.create(name="first")
    client.jobs.retry(JOB["id"])
    client.jobs.create(name="first", key="mine")
    keys = [one.headers["Idempotency-Key"] for one in server.asked]
    assert keys[0] != keys[1]
    assert keys[2] == "mine"


def test_a_start_that_may_have_arrived_is_not_sent_again(client, server):
    server.answers = [None]
    with pytest.raises(Unreachable, match="Look whether the request arrived"):
        client.jobs.start(JOB["id"])
    assert len(server.asked) == 1


def test_an_upload_is_read_from_its_beginning_again(client, server, tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"text": "x"}\n' * 10_000)
    server.answers = [(503, {}, {}), (201, {}, {"id": "d", "name": "rows", "status": "checking"})]
    told: list[tuple[int, int]] = []
    assert client.datasets.push(file, progress=lambda *now: told.append(now)).name == "rows"
    assert [one.body.count(b'{"text": "x"}\n') for one in server.asked] == [10_000, 10_000]
    assert told[-1] == (140_000, 140_000)


def test_a_file_that_is_not_there_is_told_before_anything_is_sent(client, server, tmp_path):
    with pytest.raises(StokerError, match="There is no file"):
        client.datasets.push(tmp_path / "none.jsonl")
    assert server.asked == []


def test_nobody_at_the_address_is_one_error(pauses):
    with (
        Client(f"http://127.0.0.1:{free_port()}", "x", patience=3, pause=pauses.append) as client,
        pytest.raises(Unreachable, match="cannot be used now"),
    ):
        client.me()
    assert pauses


@pytest.mark.parametrize("url", ["no address", "ftp://x", "http://[", "http://"])
def test_what_is_no_address_is_one_error(url, pauses):
    with pytest.raises(StokerError), Client(url, "x", patience=1, pause=pauses.append) as client:
        client.me()


def test_a_refusal_carries_the_servers_sentence_and_every_field(client, server):
    errors = [{"field": "gpu_config.count", "message": "Ask for 1 to 4.", "code": "invalid", "line": None}]
    server.answers = [problem(400, detail="gpu_config.count: Ask for 1 to 4.", errors=errors)]
    with pytest.raises(Refused, match="Ask for 1 to 4") as caught:
        client.jobs.create(name="first")
    assert (caught.value.status, caught.value.code) == (400, "no")
    assert [(one.field, one.message) for one in caught.value.fields] == [("gpu_config.count", "Ask for 1 to 4.")]


def test_a_wrong_token_is_an_error_of_its_own(client, server):
    server.answers = [problem(401)]
    with pytest.raises(NotSignedIn, match="No"):
        client.me()


@pytest.mark.parametrize("body", [b"<html>nginx</html>", b"", b"[1]", b'"text"', b'{"other": 1}'])
def test_an_answer_of_something_in_between_is_a_sentence_too(client, server, body):
    server.answers = [(418, {}, body)]
    with pytest.raises(Refused, match="answered 418"):
        client.me()


def test_fields_that_an_older_server_does_not_send_are_none(client, server):
    server.answers = [(200, {}, JOB | {"something": "newer"})]
    job = client.jobs.get(JOB["id"])
    assert job.progress is None
    assert job.data["something"] == "newer"


def test_waiting_ends_in_time_and_says_that_the_job_goes_on(client, server):
    server.answers = [(200, {}, JOB)]
    with pytest.raises(StillWaiting, match="It goes on"):
        client.jobs.wait(JOB["id"], timeout=0)


def test_following_asks_for_what_comes_after_and_ends_with_the_job(client, server):
    def frame(seq: int, status: str, more: bool) -> tuple[int, dict[str, str], Any]:
        body = {"seq": seq, "more": more, "job": JOB | {"status": status}, "metrics": {"step": []}}
        return 200, {}, body | {"events": [], "logs": []}

    server.answers = [frame(5, "running", True), None, frame(8, "completed", True), frame(9, "completed", False)]
    assert [one.seq for one in client.jobs.follow(JOB["id"], after=2)] == [5, 8, 9]
    assert [one.path.rpartition("=")[2] for one in server.asked] == ["2", "5", "5", "8"]


def artifact(**more: Any) -> dict[str, Any]:
    return {
        "id": "a1",
        "kind": "adapter",
        "state": "stored",
        "name": "adapter.zip",
        "sha256": "",
        "size_bytes": 7,
    } | more


def test_a_file_that_did_not_arrive_whole_is_not_kept(client, server, tmp_path):
    server.answers = [(200, {}, [artifact(sha256="0" * 64)]), (200, {}, b"adapter")]
    with pytest.raises(StokerError, match="did not arrive as it was stored"):
        client.jobs.download(JOB["id"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_breaks_off_is_not_kept(client, server, tmp_path):
    server.answers = [(200, {}, [artifact()]), (200, {"Content-Length": "100"}, b"adapter")]
    with pytest.raises(Unreachable, match="lost while a file came"):
        client.jobs.download(JOB["id"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_token_goes_to_no_other_server(client, server, tmp_path):
    """A store of its own answers for the file; it has no business with the token."""
    elsewhere = server.url.replace("127.0.0.1", "localhost") + "/file"
    server.answers = [(200, {}, [artifact()]), (302, {"Location": elsewhere}, b""), (200, {}, b"adapter")]
    assert client.jobs.download(JOB["id"], tmp_path).read_bytes() == b"adapter"
    assert "Authorization" in server.asked[1].headers
    assert "Authorization" not in server.asked[2].headers


def test_there_is_no_such_file(client, server, tmp_path):
    server.answers = [(200, {}, [artifact(state="uploading")])]
    with pytest.raises(StokerError, match=r"Its files: adapter\.zip \(uploading\)"):
        client.jobs.download(JOB["id"], Path(tmp_path))
