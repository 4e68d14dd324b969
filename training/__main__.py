"""The program: read the environment, fetch the spec, train, report the end, and say the outcome in the exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def drop_repository() -> None:
    """Take the repository's root out of the import path: its `datasets` package hides the library of that name."""
    root = Path(__file__).resolve().parent.parent
    if root.is_dir():
        sys.path[:] = [entry for entry in sys.path if Path(entry or os.curdir).resolve() != root]


def main() -> int:
    drop_repository()
    from training import environment, launch, leader
    from training.contract import ExitCode
    from training.failures import SetupError

    try:
        env = environment.read()
        count = 1 if "RANK" in os.environ else launch.processes()
        if count > 1:
            return launch.run(env, count)
        environment.hide_token()
        return leader.lead(env) if env.leads else leader.follow(env)
    except SetupError as error:
        print(f"stoker training: {error}", file=sys.stderr, flush=True)
        return ExitCode.BAD_ENVIRONMENT


if __name__ == "__main__":
    sys.exit(main())
