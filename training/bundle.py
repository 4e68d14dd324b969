"""Builds the program as one file, `training.pyz`, that any Python runs. The same sources give the same bytes."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

ENTRY = b"import sys\n\nfrom training.__main__ import main\n\nif __name__ == '__main__':\n    sys.exit(main())\n"
EPOCH = (1980, 1, 1, 0, 0, 0)


def content() -> bytes:
    """The bytes of the archive: the Python files of this folder, uncompressed: zlib differs between machines."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "__main__.py", ENTRY)
        for path in sorted(Path(__file__).parent.glob("*.py")):
            _add(archive, f"training/{path.name}", path.read_bytes())
    return buffer.getvalue()


def build(target: Path) -> Path:
    """Write the archive to `target`, in one move, and return `target`."""
    data = content()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.write_bytes(data)
    os.replace(part, target)
    return target


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr = 0o644 << 16
    info.create_system = 3
    archive.writestr(info, data)
