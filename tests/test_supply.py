"""What is installed is what was locked: versions and hashes, and no name of a host."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "locks").glob("*.txt"))
# Of another system than Linux, or what `pip freeze` leaves out.
_UNLISTED = {"appnope", "pywin32", "setuptools"}


def versions(lines: list[str]) -> dict[str, str]:
    """Return the versions of packages, by their names as registries write them."""
    pinned = (re.match(r"([\w.-]+)==([^ ;\\]+)", line) for line in lines)
    return {re.sub(r"[-_.]+", "-", found[1]).lower(): found[2] for found in pinned if found}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_the_constraints_versions_a_hash_for_each_and_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "/" not in text
    packages = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in package for package in packages)
    locked, constraints = versions(packages), versions((ROOT / "constraints.txt").read_text().splitlines())
    assert len(locked) == len(packages)
    assert {name: version for name, version in locked.items() if constraints.get(name) != version}.keys() <= _UNLISTED


def test_what_builds_the_package_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (backend,) = project["build-system"]["requires"]
    name, _, version = backend.partition("==")
    assert versions((ROOT / "locks" / "dev.txt").read_text().splitlines())[name] == version


def test_the_readme_shows_the_example_as_it_is() -> None:
    shown = (ROOT / "README.md").read_text().split("<!-- resnet -->\n```python\n")[1].split("```\n<!-- /resnet -->")[0]
    assert shown == (ROOT / "examples" / "resnet.py").read_text()
    assert len(shown.splitlines()) <= 40
