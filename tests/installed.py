"""Packages that count as installed before the real ones."""

from __future__ import annotations

from pathlib import Path


def write(path: Path, text: str) -> Path:
    """Write a file, and make its folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def fake_version(folder: Path, package: str, version: str) -> None:
    """Make what lies in ``folder`` count as installed, before the real ``package``."""
    about = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    write(folder / f"{package}-{version}.dist-info" / "METADATA", about)
