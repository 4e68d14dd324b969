"""Files that outlive the machine: packed, uploaded by a signed link, counted only when the server has checked them."""

from __future__ import annotations

import json
import os
import queue
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from training.client import Answer, Client, Kind, backoff, pause
from training.failures import RunError
from training.links import file_sha256

# A pickle of the trainer's arguments: of no use to anybody, and unsafe to open.
NEVER_UPLOADED = frozenset({"training_args.bin"})
MAX_UNPACKED = 200 * 1024**3


class NotUploadedError(RunError):
    """The server refused the file, or there was no time left to try again."""


def pack(folder: Path, target: Path) -> Path:
    """Write a zip without compression (weights do not compress) whose bytes depend on the content alone."""
    part = target.with_name(target.name + ".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in NEVER_UPLOADED):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            info.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(info, "w", force_zip64=info.file_size >= 2**31) as out:
                shutil.copyfileobj(source, out, 1024 * 1024)
    os.replace(part, target)
    return target


def unpack(archive_path: Path, folder: Path) -> Path:
    """Unpack a checkpoint into `folder`, which appears only when complete. Refuse names that would leave it."""
    part = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    root = part.resolve()
    try:
        with zipfile.ZipFile(archive_path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_UNPACKED:
                raise RunError("The checkpoint to resume from is larger than 200 GB unpacked.")
            for member in members:
                target = (root / member.filename).resolve()
                is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
                if not target.is_relative_to(root) or is_link:
                    raise RunError(f"The checkpoint to resume from holds an unsafe file name: {member.filename!r}.")
                archive.extract(member, root)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise RunError(f"The checkpoint to resume from is not a usable zip file: {error}.") from error
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    return folder


def upload(
    client: Client,
    kind: str,
    path: Path,
    step: int,
    give_up: Callable[[], bool],
    say: Callable[[str], None] = lambda text: None,
    seconds: float = 3600.0,
) -> str:
    """Upload one file and return the server's id of it, once the server says that size and checksum are right.

    Raise NotUploadedError with a sentence after `seconds`, when `give_up()` turns true, or when the server refuses it.
    """
    announced = {
        "kind": kind,
        "name": path.name,
        "step": step,
        "size_bytes": path.stat().st_size,
        "sha256": file_sha256(path),
    }
    end, waits = time.monotonic() + seconds, backoff(0.5, 20.0)
    while True:
        artifact_id, answer = _try(client, path, announced)
        if artifact_id:
            return artifact_id
        # 422 says that the bytes did not arrive as announced: they are sent again.
        if answer.kind is Kind.OVER or (answer.kind is Kind.REFUSED and answer.status not in (409, 422)):
            raise NotUploadedError(f"The server refused {path.name}: {answer.said}.")
        if give_up() or time.monotonic() >= end:
            raise NotUploadedError(f"{path.name} could not be uploaded in time: {answer.said}.")
        say(f"Uploading {path.name} did not work, trying again: {answer.said}.")
        pause(answer.retry_after if answer.retry_after is not None else next(waits), give_up)


def _try(client: Client, path: Path, announced: dict[str, object]) -> tuple[str, Answer]:
    answer = client.post("artifacts", announced)
    if answer.kind is not Kind.OK:
        return "", answer
    artifact_id, link = str(answer.body.get("id", "")), answer.body.get("upload")
    if answer.body.get("state") == "stored":
        return artifact_id, answer
    if not artifact_id or not isinstance(link, dict) or not link.get("url"):
        return "", Answer(Kind.LATER, answer.status, error="the answer holds no upload link")
    put = client.put_file(link["url"], path, link.get("headers") or {})
    if put.kind is not Kind.OK:
        # An expired or spent link is not the end: the next try asks for a new one.
        return "", Answer(Kind.LATER, put.status, put.body, put.retry_after, put.error or "upload refused")
    done = client.post(f"artifacts/{artifact_id}/complete", {})
    return (artifact_id if done.kind is Kind.OK else ""), done


def name_base_model(adapter: Path, base_model: str) -> None:
    """An adapter names the model it belongs to by its public name, not by a path on the machine that trained it."""
    config = adapter / "adapter_config.json"
    document = json.loads(config.read_text("utf-8"))
    document["base_model_name_or_path"] = base_model
    config.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def complete_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that were written to their end, oldest first. `trainer_state.json` is the last file written."""
    found = []
    for path in folder.glob("checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        written = (path / "trainer_state.json").is_file() and not (path / "checkpoint-is-incomplete.txt").exists()
        if number.isdigit() and written:
            found.append((int(number), path))
    return [path for _, path in sorted(found)]


@dataclass(frozen=True)
class Waiting:
    step: int
    folder: Path


class CheckpointUploader:
    """Uploads checkpoints one after the other while the training goes on; of several that wait only the newest."""

    def __init__(self, client: Client, folder: Path, give_up: Callable[[], bool], say: Callable[[str], None]) -> None:
        self._client = client
        self._folder = folder
        self._give_up = give_up
        self._say = say
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self.uploaded_step = 0
        shutil.rmtree(folder, ignore_errors=True)
        self._thread.start()

    def add(self, step: int, checkpoint: Path) -> None:
        """Take the checkpoint as it is now. Links cost no space, and the trainer may delete its own names meanwhile."""
        copy = self._folder / f"checkpoint-{step}"
        copy.mkdir(parents=True, exist_ok=True)
        for path in checkpoint.rglob("*"):
            if path.is_file() and path.name not in NEVER_UPLOADED:
                _link(path, copy / path.relative_to(checkpoint))
        self._queue.put(Waiting(step, copy))

    def close(self, timeout: float) -> bool:
        """Wait for what is still to be uploaded; say whether all of it is done."""
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            last = False
            while not self._queue.empty():
                newer = self._queue.get()
                if newer is None:
                    last = True
                    break
                shutil.rmtree(item.folder, ignore_errors=True)
                item = newer
            self._upload(item)
            if last:
                return

    def _upload(self, item: Waiting) -> None:
        archive = self._folder / f"checkpoint-{item.step}.zip"
        try:
            pack(item.folder, archive)
            upload(self._client, "checkpoint", archive, item.step, self._give_up, self._say)
            self.uploaded_step = item.step
        except (NotUploadedError, OSError) as error:
            self._say(f"The checkpoint of step {item.step} is not stored: {error}")
        finally:
            shutil.rmtree(item.folder, ignore_errors=True)
            archive.unlink(missing_ok=True)


def newest(folders: Iterable[Path]) -> Path | None:
    return max(folders, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # A file system without links.
        shutil.copyfile(source, target)
