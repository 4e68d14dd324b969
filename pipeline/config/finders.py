"""Lets Django's static files include the browser libraries, file by file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage

from pipeline.config import content

PREFIX = "vendor"


class VendorFinder(BaseFinder):
    """Finds what content.VENDOR lists in node_modules, as vendor/<name>/<path>."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.node_modules = Path(settings.BASE_DIR) / "node_modules"

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        found = [
            str(base / file)
            for name, base, file in content.vendor_files(self.node_modules)
            if f"{PREFIX}/{name}/{file}" == path
        ]
        return found if find_all else next(iter(found), [])

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, FileSystemStorage]]:
        for name, base, file in content.vendor_files(self.node_modules):
            storage = FileSystemStorage(location=base)
            storage.prefix = f"{PREFIX}/{name}"  # type: ignore[attr-defined]  # collectstatic's way to learn the folder
            yield file, storage
