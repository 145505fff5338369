"""What lies around the package and other programs read: of GitHub, of Docker, and how it is cited."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docs import ROOT
from tune_fmnist import __version__

GITHUB = ROOT / ".github"
CITATION = ROOT / "CITATION.cff"


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("github-workflows", GITHUB / "workflows" / "ci.yml"),
        ("github-issue-forms", GITHUB / "ISSUE_TEMPLATE" / "bug.yml"),
        ("github-issue-config", GITHUB / "ISSUE_TEMPLATE" / "config.yml"),
        ("citation-file-format", CITATION),
    ],
)
def test_a_file_is_of_its_schema(schema: str, file: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="`make test-docs` runs this")
    command = [sys.executable, "-m", "check_jsonschema", "--force-filetype", "yaml"]
    done = subprocess.run(
        [*command, "--builtin-schema", f"vendor.{schema}", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_runs_what_is_run_here_with_pinned_actions() -> None:
    workflow = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert any(step.get("run", "").endswith("bash .ci/run") for step in steps)
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert all(len(one.partition("@")[2]) == 40 for one in used)


def test_what_is_cited_is_this_version() -> None:
    assert yaml.safe_load(CITATION.read_text())["version"] == __version__


def test_the_image_has_nothing_that_hadolint_finds() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("`make test-docs` runs this")
    done = subprocess.run([hadolint, ROOT / "clusters" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
