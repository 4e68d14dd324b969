"""What is installed beside the server: the browser libraries and the trainer's Python."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

# Browser libraries by their name under static/vendor/: the folder in node_modules, and which of its files browsers may
# load. Only these are collected and compressed; the packages hold thousands more.
VENDOR: dict[str, tuple[str, tuple[str, ...]]] = {
    "tabler": ("@tabler/core/dist", ("css/tabler.min.css", "js/tabler.min.js")),
    "inter": ("@fontsource-variable/inter", ("wght.css", "files/*-wght-normal.woff2")),
    "chart.js": ("chart.js/dist", ("chart.umd.min.js",)),
    "chartjs-plugin-annotation": ("chartjs-plugin-annotation/dist", ("*.min.js",)),
    "chartjs-plugin-zoom": ("chartjs-plugin-zoom/dist", ("*.min.js",)),
    "hammerjs": ("hammerjs", ("hammer.min.js",)),
}
# Python packages whose own static files the pages load.
PYTHON_PACKAGES = ("Django", "django-unfold", "djangorestframework", "drf-spectacular-sidecar", "django-celery-beat")


def missing_vendor_packages(node_modules: Path) -> list[str]:
    return [folder for folder, _ in VENDOR.values() if not (node_modules / folder).is_dir()]


def vendor_files(node_modules: Path) -> Iterator[tuple[str, Path, str]]:
    """(name under vendor/, the package's folder, path in that folder) of every file to serve."""
    for name, (folder, patterns) in VENDOR.items():
        base = node_modules / folder
        for pattern in patterns:
            for file in sorted(base.glob(pattern)):
                yield name, base, file.relative_to(base).as_posix()


def digest(root: Path) -> str:
    """Ten hex digits that change with any static file of ours or with the version of a package that brings some."""
    state = hashlib.sha256()
    for file in sorted((root / "frontend" / "static").rglob("*")):
        if file.is_file():
            state.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    lock = root / "package-lock.json"
    state.update(lock.read_bytes() if lock.exists() else b"")
    for package in PYTHON_PACKAGES:
        state.update(f"{package}=={metadata.version(package)}\n".encode())
    for name, _, path in vendor_files(root / "node_modules"):
        state.update(f"{name}/{path}\n".encode())
    return state.hexdigest()[:10]


def trainer_python(home: Path, root: Path) -> Path:
    """The Python that runs the training program: in this installation's folder, or else in the checkout's."""
    ours = home / "trainer" / "bin" / "python"
    shared = root / ".stoker" / "trainer" / "bin" / "python"
    return shared if not ours.exists() and shared.exists() else ours
