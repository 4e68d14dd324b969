"""What is installed beside the server: the browser libraries and the trainer's Python."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

# The folders of npm packages that browsers may load, by their name under static/vendor/. Only what pages use: the icon
# package alone holds ten thousand files, and its icons are drawn into the pages instead.
VENDOR = {
    "tabler": "@tabler/core/dist",
    "inter": "@fontsource-variable/inter",
    "chart.js": "chart.js/dist",
    "chartjs-plugin-annotation": "chartjs-plugin-annotation/dist",
    "chartjs-plugin-zoom": "chartjs-plugin-zoom/dist",
    "hammerjs": "hammerjs",
    "htmx": "htmx.org/dist",
}
# Python packages whose own static files the pages load.
PYTHON_PACKAGES = ("Django", "django-unfold", "djangorestframework", "drf-spectacular-sidecar", "django-celery-beat")


def vendor_folders(node_modules: Path) -> list[tuple[str, Path]]:
    """For STATICFILES_DIRS: prefix and folder. Packages that are not installed are left out; a system check names them."""
    return [(f"vendor/{name}", node_modules / path) for name, path in VENDOR.items() if (node_modules / path).is_dir()]


def missing_vendor_packages(node_modules: Path) -> list[str]:
    return [path for path in VENDOR.values() if not (node_modules / path).is_dir()]


def digest(root: Path) -> str:
    """Ten hex digits that change with any static file of ours or with the version of a package that brings some."""
    state = hashlib.sha256()
    for file in sorted((root / "frontend" / "static").rglob("*")):
        if file.is_file():
            state.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    lock = root / "package-lock.json"
    state.update(lock.read_bytes() if lock.exists() else b"")
    for package in PYTHON_PACKAGES:
        try:
            state.update(f"{package}=={metadata.version(package)}\n".encode())
        except metadata.PackageNotFoundError:
            continue
    for _, folder in vendor_folders(root / "node_modules"):
        state.update(str(folder).encode())
    return state.hexdigest()[:10]


def trainer_python(home: Path, root: Path) -> Path:
    """The Python that runs the training program: in this installation's folder, or else in the checkout's."""
    ours = home / "trainer" / "bin" / "python"
    shared = root / ".stoker" / "trainer" / "bin" / "python"
    return shared if not ours.exists() and shared.exists() else ours
