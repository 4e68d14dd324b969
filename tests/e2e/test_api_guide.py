"""The example in docs/api.md, typed as it stands."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.account import Account

GUIDE = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="The example wants curl.")
def test_the_example_leads_from_a_file_to_a_finished_job(ada: Account, tmp_path: Path) -> None:
    [example] = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    typed = example.replace("http://127.0.0.1:8000", ada.stack.url)
    typed = typed.replace("stk_u_your-own-token", str(ada.http.headers["Authorization"]).removeprefix("Bearer "))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", typed], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("The dataset is ready.")
    assert done.stdout.splitlines()[1].startswith("The job is completed: The simulation is over.")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == [str(step) for step in range(1, 101)]
