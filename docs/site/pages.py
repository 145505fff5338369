"""What MkDocs builds the site from: docs/, other pages of the repository, and what is made from the code.

The pages are written for a reader of the repository.  Here their links to files are led to the site's own pages, or to
a page that shows the file, so that the site needs no other host.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from docs.site import notebook, reference, terminal

ROOT: Final = Path(__file__).parents[2]

_ELSEWHERE: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/LOG.md": "benchmarks/log.md",
    "benchmarks/quality/README.md": "benchmarks/quality.md",
    "examples/read_the_tables.ipynb": "notebook.md",
}
"""Pages that do not lie in docs/, and where they are on the site; the README's place is taken by docs/index.md."""

_MADE: Final = {
    "reference/commands.md": reference.commands,
    "reference/python.md": reference.python,
    "reference/tables.md": reference.tables,
    "reference/events.md": reference.events,
    "reference/code.md": reference.code,
    "notebook.md": lambda: notebook.executed(ROOT / "examples" / "read_the_tables.ipynb"),
    "pictures/terminal.svg": lambda: terminal.drawn(ROOT / "docs" / "pictures" / "terminal.txt"),
}
"""What is made from the code, by its place on the site."""

_LINK: Final = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
_FENCE: Final = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_SHOWN_AS_THEY_ARE: Final = {".png", ".svg", ".html"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the pages by those with the site's links, and add all that they link to."""
    for place, make in _MADE.items():
        files.append(File.generated(config, place, content=make()))
    linked: set[str] = set()
    ours = {f"docs/{file.src_uri}": file.src_uri for file in files.documentation_pages() if file.generated_by is None}
    elsewhere = {path: place for path, place in _ELSEWHERE.items() if place not in (*_MADE, *ours.values())}
    for path, place in (ours | elsewhere).items():
        text = _with_the_sites_links((ROOT / path).read_text(), path, place, linked)
        if old := files.get_file_from_path(place):
            files.remove(old)
        files.append(File.generated(config, place, content=text))
    for path in sorted(linked):
        if Path(path).suffix in _SHOWN_AS_THEY_ARE:
            if files.get_file_from_path(_place(path)) is None:
                files.append(File.generated(config, _place(path), abs_src_path=str(ROOT / path)))
        else:
            files.append(File.generated(config, _place(path), content=_source(path)))
    return files


def _with_the_sites_links(text: str, path: str, place: str, linked: set[str]) -> str:
    """Return a page whose links lead to the site; add to ``linked`` the files that it must have for that."""

    def leads_to(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link[1]))
        if not (ROOT / target).exists():
            # Made by the build, or a mistake, which MkDocs finds.
            return link[1]
        if not _is_page(target):
            linked.add(target)
        return posixpath.relpath(_place(target), posixpath.dirname(place) or ".")

    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(leads_to, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(leads_to, text[end:])])


def _is_page(path: str) -> bool:
    return path in _ELSEWHERE or (path.startswith("docs/") and path.endswith(".md"))


def _place(path: str) -> str:
    """Return where a file of the repository is on the site."""
    if path in _ELSEWHERE:
        return _ELSEWHERE[path]
    if path.startswith("docs/") and Path(path).suffix in {".md", *_SHOWN_AS_THEY_ARE}:
        return path.removeprefix("docs/")
    return path if Path(path).suffix in _SHOWN_AS_THEY_ARE else f"source/{path.lstrip('.')}.md"


def _source(path: str) -> str:
    """Return a page that shows a file, or names those of a folder."""
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
    if (ROOT / path).is_dir():
        names = sorted(file.name for file in (ROOT / path).iterdir() if file.suffix in {".py", ".toml"})
        return head + "A folder of the repository, with the files\n\n" + "".join(f"- `{name}`\n" for name in names)
    kind = {".py": "python", ".sh": "sh", ".yaml": "yaml", ".toml": "toml"}.get(Path(path).suffix, "text")
    try:
        shown = (ROOT / path).read_text()
    except UnicodeDecodeError:
        return head + "A file of the repository that is no text.\n"
    return f"{head}~~~~{kind}\n{shown.rstrip()}\n~~~~\n"
