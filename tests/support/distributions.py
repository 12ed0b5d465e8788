"""Python distributions made from text: real wheels, installed for real, without running pip.

Not a build backend: pure Python only, no data files, no scripts on ``PATH``.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


def normalised(name: str) -> str:
    """The one spelling of a distribution name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Distribution:
    """A distribution: its metadata, and its files as paths and text. Writes nothing until asked."""

    name: str
    version: str = "1.0"
    files: Mapping[str, str] = field(default_factory=dict)
    entry_points: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    requires: Sequence[str] = ()

    @property
    def stem(self) -> str:
        """``name-version`` as wheels and dist-info directories spell it."""
        return f"{normalised(self.name).replace('-', '_')}-{self.version}"

    def wheel(self, directory: Path) -> Path:
        """Write a PEP 427 wheel into *directory*; the same distribution gives the same bytes."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.stem}-py3-none-any.whl"
        members = {**self.files, **self._metadata()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, text in self._recorded(members).items():
                info = zipfile.ZipInfo(member)  # its default date is fixed: 1980-01-01
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o100644 << 16
                archive.writestr(info, text.encode())
        return path

    def install(self, site: Path) -> None:
        """Put into *site* what an installer would unpack from the wheel; replaces any version."""
        members = {**self.files, **self._metadata(), f"{self.stem}.dist-info/INSTALLER": "tests\n"}
        self._place(site, members)

    def develop(self, site: Path, source: Path) -> None:
        """Install editable: the files go to *source*, *site* gets the metadata and a ``.pth`` file.

        Python reads ``.pth`` files in real site directories only, not on ``PYTHONPATH``:
        `support.sites.Site` puts both directories there.
        """
        source = source.resolve()
        _write(source, self.files)
        direct_url = {"url": source.as_uri(), "dir_info": {"editable": True}}
        members = {
            f"__editable__.{self.stem}.pth": f"{source}\n",
            **self._metadata(),
            f"{self.stem}.dist-info/INSTALLER": "tests\n",
            f"{self.stem}.dist-info/direct_url.json": json.dumps(direct_url),
        }
        self._place(site, members)

    def uninstall(self, site: Path) -> None:
        """Remove this distribution, whatever its version, from *site*."""
        uninstall(site, self.name)

    def _place(self, site: Path, members: Mapping[str, str]) -> None:
        for _ in _dist_infos(site, self.name):
            uninstall(site, self.name)
        _write(site, self._recorded(members))
        importlib.invalidate_caches()

    def _metadata(self) -> dict[str, str]:
        metadata = ["Metadata-Version: 2.1", f"Name: {self.name}", f"Version: {self.version}"]
        metadata += [f"Requires-Dist: {requirement}" for requirement in self.requires]
        wheel = ["Wheel-Version: 1.0", "Generator: tests", "Root-Is-Purelib: true"]
        wheel += ["Tag: py3-none-any"]
        members = {"METADATA": _lines(metadata), "WHEEL": _lines(wheel)}
        if self.entry_points:
            members["entry_points.txt"] = "\n".join(
                _lines([f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())])
                for group, entries in self.entry_points.items()
            )
        return {f"{self.stem}.dist-info/{name}": text for name, text in members.items()}

    def _recorded(self, members: Mapping[str, str]) -> dict[str, str]:
        record = f"{self.stem}.dist-info/RECORD"
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        for member, text in members.items():
            data = text.encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            writer.writerow((member, f"sha256={digest}", len(data)))
        writer.writerow((record, "", ""))
        return {**members, record: rows.getvalue()}


def uninstall(site: Path, name: str) -> None:
    """Remove the distribution *name* from *site* by its RECORD; an editable's source stays.

    :raises LookupError: if *site* holds no such distribution.
    """
    found = list(_dist_infos(site, name))
    if not found:
        raise LookupError(f"{name} is not installed in {site}")
    root = site.resolve()
    for dist_info in found:
        with (dist_info / "RECORD").open(encoding="utf-8", newline="") as record:
            paths = [root / row[0] for row in csv.reader(record) if row]
        for path in paths:
            if not path.resolve().is_relative_to(root):
                raise ValueError(f"{dist_info.name}/RECORD names a file outside the site: {path}")
            path.unlink(missing_ok=True)
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                compiled.unlink()
        parents = {parent for path in paths for parent in path.parents if parent != root}
        caches = {parent / "__pycache__" for parent in parents}
        for directory in sorted(parents | caches, key=lambda path: len(path.parts), reverse=True):
            if (
                directory.is_relative_to(root)
                and directory.is_dir()
                and not any(directory.iterdir())
            ):
                directory.rmdir()
    importlib.invalidate_caches()


def _dist_infos(site: Path, name: str) -> Iterator[Path]:
    for dist_info in sorted(site.glob("*.dist-info")):
        if normalised(dist_info.name.split("-")[0]) == normalised(name):
            yield dist_info


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"


def _write(root: Path, members: Mapping[str, str]) -> None:
    for member, text in members.items():
        path = root / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
