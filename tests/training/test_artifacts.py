from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from tests.fakes.wire_server import JOB_ID, TOKEN, WireServer
from tests.waiting import until
from training import artifacts, bundle, links
from training.client import Client
from training.failures import InvalidDataError, RunError, StopRequested


@pytest.fixture
def client(wire: WireServer) -> Client:
    return Client(wire.api_url, JOB_ID, TOKEN, timeout=5.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "inner").mkdir(parents=True)
    (made / "adapter_config.json").write_text('{"base_model_name_or_path": "/somewhere/on/a/machine"}')
    (made / "inner" / "weights.bin").write_bytes(os.urandom(100_000))
    (made / "training_args.bin").write_bytes(b"a pickle")
    return made


def write_checkpoint(folder: Path, step: int, complete: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(b"weights %d" % step)
    if complete:
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def never() -> bool:
    return False


def test_pack_is_repeatable_and_leaves_pickles_of_arguments_out(folder: Path, tmp_path: Path) -> None:
    first = artifacts.pack(folder, tmp_path / "a.zip").read_bytes()
    os.utime(folder / "adapter_config.json", (1, 1))
    assert artifacts.pack(folder, tmp_path / "b.zip").read_bytes() == first
    assert zipfile.ZipFile(io.BytesIO(first)).namelist() == ["adapter_config.json", "inner/weights.bin"]
    unpacked = artifacts.unpack(tmp_path / "a.zip", tmp_path / "again")
    assert (unpacked / "inner" / "weights.bin").read_bytes() == (folder / "inner" / "weights.bin").read_bytes()


@pytest.mark.parametrize("name", ["../outside.txt", "/absolute.txt", "inner/../../outside.txt"])
def test_unpack_refuses_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("good.txt", "good")
        archive.writestr(name, "bad")
    with pytest.raises(RunError, match="unsafe"):
        artifacts.unpack(tmp_path / "bad.zip", tmp_path / "target" / "checkpoint-1")
    assert not (tmp_path / "target" / "checkpoint-1").exists()
    assert not list(tmp_path.rglob("outside.txt"))


def test_unpack_refuses_links_and_rubbish(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(RunError, match="unsafe"):
        artifacts.unpack(tmp_path / "link.zip", tmp_path / "target")
    (tmp_path / "rubbish.zip").write_bytes(b"no zip at all")
    with pytest.raises(RunError, match="not a usable zip"):
        artifacts.unpack(tmp_path / "rubbish.zip", tmp_path / "target")


def test_upload_is_repeated_until_the_server_has_checked_it(wire: WireServer, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "adapter.zip"
    path.write_bytes(os.urandom(300_000))
    wire.faults.unavailable = True
    wire.faults.refuse_uploads = 1
    heard: list[str] = []

    def say(text: str) -> None:
        heard.append(text)
        wire.faults.unavailable = False

    number = artifacts.upload(client, "adapter", path, 7, never, say)
    assert [a["id"] for a in wire.stored("adapter")] == [number]
    assert wire.stored("adapter")[0]["step"] == 7
    assert len(heard) == 2
    assert "checksum" in heard[1]


def test_upload_gives_up_with_a_sentence(wire: WireServer, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "adapter.zip"
    path.write_bytes(b"x")
    wire.faults.down = True
    with pytest.raises(artifacts.NotUploadedError, match="in time"):
        artifacts.upload(client, "adapter", path, 7, lambda: True)
    wire.faults.down, wire.faults.over = False, 410
    with pytest.raises(artifacts.NotUploadedError, match="refused"):
        artifacts.upload(client, "adapter", path, 7, never)


def test_only_complete_checkpoints_count(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 20)
    write_checkpoint(tmp_path, 100)
    write_checkpoint(tmp_path, 200, complete=False)
    (tmp_path / "checkpoint-latest").mkdir()
    assert [path.name for path in artifacts.complete_checkpoints(tmp_path)] == ["checkpoint-20", "checkpoint-100"]


def test_checkpoints_are_uploaded_in_the_background(wire: WireServer, client: Client, tmp_path: Path) -> None:
    said: list[str] = []
    wire.faults.unavailable = True
    uploader = artifacts.CheckpointUploader(client, tmp_path / "upload", never, said.append)
    first = write_checkpoint(tmp_path, 10)
    uploader.add(10, first)
    (first / "adapter_model.safetensors").unlink()  # the trainer deletes old checkpoints while they are uploaded
    until(lambda: said)
    for step in (20, 30):
        uploader.add(step, write_checkpoint(tmp_path, step))
    wire.faults.unavailable = False
    assert uploader.close(20)
    assert uploader.uploaded_step == 30
    assert [a["step"] for a in wire.stored("checkpoint")] == [10, 30]  # 20 was overtaken while it waited
    assert zipfile.ZipFile(wire.stored("checkpoint")[0]["path"]).read("adapter_model.safetensors") == b"weights 10"
    assert list((tmp_path / "upload").iterdir()) == []


def test_adapter_names_the_model_by_its_public_name(folder: Path) -> None:
    artifacts.name_base_model(folder, "org/model")
    assert json.loads((folder / "adapter_config.json").read_text()) == {"base_model_name_or_path": "org/model"}


def test_file_is_fetched_again_after_a_cut_and_with_a_new_link(wire: WireServer, tmp_path: Path) -> None:
    link = wire.add_file("rows.jsonl", b"rows\n" * 1000)
    wire.faults.down = True
    asked: list[int] = []

    def choose() -> tuple[str, str]:
        asked.append(1)
        url = link["url"] if len(asked) > 1 else link["url"].replace("rows.jsonl", "gone.jsonl")
        return url, link["sha256"]

    def say(text: str) -> None:
        wire.faults.down = False

    path = links.fetch("the dataset", choose, tmp_path / "got", never, say)
    assert path.read_bytes() == b"rows\n" * 1000
    assert len(asked) == 2
    requests = len(wire.requests)
    assert links.fetch("the dataset", choose, tmp_path / "got", never, say) == path
    assert len(wire.requests) == requests  # it was there already


def test_file_with_a_wrong_checksum_is_refused(wire: WireServer, tmp_path: Path) -> None:
    link = wire.add_file("rows.jsonl", b"rows")
    wire.faults.wrong_file = True
    with pytest.raises(InvalidDataError, match="not what was stored"):
        links.fetch("the dataset", lambda: (link["url"], link["sha256"]), tmp_path / "got", never, lambda text: None)
    assert list(tmp_path.glob("got*")) == []


def test_fetching_stops_when_told(wire: WireServer, tmp_path: Path) -> None:
    with pytest.raises(StopRequested):
        links.fetch("the dataset", lambda: ("http://127.0.0.1:9/x", ""), tmp_path / "got", lambda: True, print)


def test_bundle_is_the_same_for_the_same_sources(tmp_path: Path) -> None:
    first = bundle.build(tmp_path / "a.pyz")
    assert bundle.build(tmp_path / "b.pyz").read_bytes() == first.read_bytes() == bundle.content()
    names = zipfile.ZipFile(first).namelist()
    assert {"__main__.py", "training/__main__.py", "training/contract.py", "training/records.py"} <= set(names)
    assert all(name == "__main__.py" or name.startswith("training/") for name in names)
