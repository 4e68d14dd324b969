"""What a metric may be called: by the programs that send it, and by the rules that watch it."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z_][\w./:-]{0,63}")
