"""The local provider's small parts: hardware, environment, and secrets in printed text."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from pipeline.providers.local import hardware, supervisor
from pipeline.providers.local.environment import program_environment
from pipeline.providers.local.redact import redact, secret_hashes

TWO_CARDS = "NVIDIA GeForce RTX 4090, 24564\nNVIDIA A100-SXM4-80GB, 81920\n"


class TestHardware:
    @pytest.fixture(autouse=True)
    def _forget(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hardware, "_gpus_seen", None)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def fake_nvidia_smi(self, monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
        """A real program of that name that answers like the real one."""
        path = folder / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def test_a_machine_without_gpu_tells_cores_and_memory(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        self.fake_nvidia_smi(monkeypatch, tmp_path, "echo 'NVIDIA-SMI has failed' >&2; exit 9")
        machine = hardware.this_machine()
        assert machine.type == hardware.CPU
        assert "core" in machine.label
        assert machine.memory_gb > 0
        assert hardware.devices(machine, 2, 1, 1) == ""

    def test_gpus_are_told_by_name_and_memory(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.fake_nvidia_smi(monkeypatch, tmp_path, f"printf '{TWO_CARDS}'")
        machine = hardware.this_machine()
        assert machine.type == hardware.GPU
        assert machine.label == "This machine: 2 × NVIDIA GeForce RTX 4090, 24 GB"
        assert machine.memory_gb == 24.0
        assert machine.gpus == ("0", "1")

    def test_only_gpus_that_the_operator_left_visible_count(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        self.fake_nvidia_smi(monkeypatch, tmp_path, f"printf '{TWO_CARDS}'")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert hardware.this_machine().label == "This machine: NVIDIA A100-SXM4-80GB, 80 GB"
        for hidden in ("", "-1"):
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
            assert hardware.this_machine().type == hardware.CPU

    def test_a_driver_that_hangs_or_talks_nonsense_is_no_gpu(self) -> None:
        assert hardware.parse_nvidia_smi("Failed to initialize NVML\nGB10, [N/A]\n") == ()

    @pytest.mark.parametrize(
        ("slots", "slot", "count", "expected"),
        [(1, 0, 1, "0"), (1, 0, 4, "0,1,2,3"), (2, 1, 2, "2,3"), (4, 3, 1, "3"), (8, 5, 1, "1")],
    )
    def test_slots_share_the_gpus(self, slots: int, slot: int, count: int, expected: str) -> None:
        machine = hardware.Hardware(hardware.GPU, "", 80, ("0", "1", "2", "3"))
        assert hardware.devices(machine, slots, slot, count) == expected
        assert count <= hardware.units_per_slot(machine, slots)


class TestEnvironment:
    def test_what_was_requested_wins_except_for_our_directories(self) -> None:
        made = program_environment(
            {"HF_TOKEN": "server's", "STOKER_WORK_DIR": "/a", "PGPASSWORD": "x"},
            {"HF_TOKEN": "job's", "STOKER_WORK_DIR": "/b"},
            work_dir=Path("/work-dir"),
            models_dir=Path("/models"),
        )
        assert made["HF_TOKEN"] == "job's"
        assert made["STOKER_WORK_DIR"] == "/work-dir"
        assert made["STOKER_MODELS_DIR"] == "/models"
        assert "PGPASSWORD" not in made
        assert made["PATH"]


class TestRedact:
    @profile(deadline=None)
    @given(st.text(alphabet=st.characters(min_codepoint=48, max_codepoint=122), min_size=12, max_size=60))
    def test_no_long_word_of_a_secret_survives(self, secret: str) -> None:
        hashes = secret_hashes({"JOB_TOKEN": secret, "JOB_ID": "not-secret-at-all"})
        shown = redact(f"before {secret} after not-secret-at-all", hashes)
        assert "not-secret-at-all" in shown
        for word in re.findall(r"[A-Za-z0-9_-]{8,}", secret):
            assert word not in shown.replace("not-secret-at-all", "")

    @pytest.mark.parametrize(
        ("text", "secret"),
        [
            ("GET https://s3/b/k?X-Amz-Signature=0123abcd&x=1", "0123abcd"),
            ("https://host/file?token=abc.def-ghi&page=2", "abc.def-ghi"),
            ("postgres://user:hunter2@db/x", "hunter2"),
            ('{"password": "hunter22"}', "hunter22"),
            ("OPENAI_API_KEY=sk-abcdefgh12345678", "abcdefgh12345678"),
            ("authorization: bearer abcdefgh.ijkl", "abcdefgh"),
        ],
    )
    def test_usual_shapes_are_hidden(self, text: str, secret: str) -> None:
        assert secret not in redact(text, [])

    @pytest.mark.parametrize(
        "text", ["pad_token = <|im_end|>", "eos_token: </s>", "tokens_per_second=1234.5", "step 1 of 10, 5 tokens"]
    )
    def test_what_training_prints_stays_readable(self, text: str) -> None:
        assert redact(text, []) == text


class TestIdentity:
    def test_a_living_process_is_itself_and_a_dead_one_nobody(self) -> None:
        own = supervisor.identity(os.getpid())
        assert own["start"]
        assert supervisor.is_same_process(own)
        assert not supervisor.is_same_process(own | {"start": "1"})
        assert not supervisor.is_same_process({"pid": 2**30, "start": own["start"]})
        assert not supervisor.is_same_process(None)
        assert supervisor.boot_id()
