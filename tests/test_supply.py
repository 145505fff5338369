"""What is installed is what was locked: versions and hashes, and no name of a host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from tune_fmnist import __version__

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


def test_the_image_is_installed_as_make_env_installs() -> None:
    def installs(text: str) -> list[str]:
        found = re.findall(r"pip install (--.*?)(?: &&.*)?$", text, re.MULTILINE)
        return [re.sub(r"--quiet |--no-cache-dir ", "", options) for options in found]

    dockerfile = installs((ROOT / "clusters" / "Dockerfile").read_text())
    recipe = (ROOT / "Makefile").read_text().split("$(VENV)/.installed:")[1].split("\n\n")[0]
    assert dockerfile == [options.replace("dev.txt", "run.txt") for options in installs(recipe)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that ``make wheel`` builds."""
    return _built(tmp_path_factory.mktemp("wheel"))


def _built(folder: Path) -> Path:
    # What `make wheel` runs, into another folder.
    recipe = re.search(r"^wheel:.*\n\t\$\(BIN\)/python (.*) dist \.$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    subprocess.run([sys.executable, *recipe[1].split(), str(folder), str(ROOT)], check=True)
    (wheel,) = folder.iterdir()
    return wheel


def test_the_wheel_holds_the_package_and_no_more(wheel: Path) -> None:
    files = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = {file for file in (ROOT / "tune_fmnist").rglob("*") if file.suffix in {".py", ".jinja", ".typed"}}
    spaces = {f"tune_fmnist/search_spaces/{file.name}" for file in (ROOT / "search_spaces").glob("*.toml")}
    assert spaces
    assert {str(file.relative_to(ROOT)) for file in source} | spaces <= files
    assert all(name.startswith("tune_fmnist/") and "test" not in Path(name).stem.split("_") for name in files)
    assert not any("__pycache__" in name for name in files)


def test_the_same_files_give_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    again = _built(tmp_path)
    assert (again.name, again.read_bytes()) == (wheel.name, wheel.read_bytes())


def test_the_wheel_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    bin_folder = tmp_path / "venv" / "bin"
    install = ["install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(bin_folder / "python"), *install], check=True)
    # What it needs comes from here; it comes first itself.
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "needs.pth").write_text("\n".join(folder for folder in sys.path if folder.endswith("-packages")))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = (
        "from tune_fmnist.tuning.space_files import default_space, read_space; "
        "file = default_space('ann'); read_space(file); print(file)"
    )
    for command in (["python", "-c", code], ["tune-fmnist", "--version"]):
        said = subprocess.run(
            [str(bin_folder / command[0]), *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        assert said.stdout.startswith((str(packages), f"tune_fmnist {__version__}"))
