from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.reliability import Note
from tune_fmnist import data
from tune_fmnist.base.errors import InputError
from tune_fmnist.data import known
from tune_fmnist.data.idx import Expected
from tune_fmnist.data.known import KnownFiles

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
NAMES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
UNREACHABLE = "http://127.0.0.1:1/"


def content_of(source: data.Source, name: str) -> bytes:
    plain = source.folder / name
    return plain.read_bytes() if plain.exists() else gzip.decompress((source.folder / f"{name}.gz").read_bytes())


def link(source: data.Source, folder: Path, *names: str) -> Path:
    """Fill ``folder`` with links to the real files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        real = next(path for path in (source.folder / name, source.folder / f"{name}.gz") if path.exists())
        (folder / real.name).symlink_to(real.resolve())
    return folder


def remove(folder: Path, name: str) -> None:
    for path in folder.glob(f"{name}*"):
        path.unlink()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Fashion-MNIST; returns its cache directory."""
    monkeypatch.delenv("FMNIST_ROOT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(known, "DEBIAN_FOLDER", tmp_path / "usr")
    return tmp_path / "xdg" / "tune_fmnist"


def test_places_are_tried_in_order(
    source: data.Source, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, variable = tmp_path / "root", tmp_path / "variable"
    debian = link(source, tmp_path / "usr", *NAMES)
    said: list[str] = []
    assert data.locate(say=said.append) == KnownFiles("fashion-mnist", debian, "Debian's dataset-fashion-mnist")
    cache = link(source, bare / "FashionMNIST" / "raw", *NAMES)
    assert data.locate(say=said.append) == KnownFiles("fashion-mnist", cache, "cache")
    monkeypatch.setenv("FMNIST_ROOT", "")
    assert data.locate(say=said.append) == KnownFiles("fashion-mnist", cache, "cache")
    monkeypatch.setenv("FMNIST_ROOT", str(link(source, variable, *NAMES)))
    assert data.locate(say=said.append) == KnownFiles("fashion-mnist", variable, "$FMNIST_ROOT")
    raw = link(source, root / "FashionMNIST" / "raw", *NAMES)
    assert data.locate(data_root=root, say=said.append) == KnownFiles("fashion-mnist", raw, "--data-root")
    assert len(said) == 5
    assert said[-1] == f"Fashion-MNIST: {raw} (--data-root)"


def test_incomplete_cache_is_skipped_aloud(source: data.Source, bare: Path, tmp_path: Path) -> None:
    cache = link(source, bare / "FashionMNIST" / "raw", TRAIN_IMAGES)
    link(source, tmp_path / "usr", *NAMES)
    said: list[str] = []
    assert data.locate(say=said.append).folder == tmp_path / "usr"
    assert said[0] == f"Fashion-MNIST: {cache} is skipped: {TRAIN_LABELS} not found"


@pytest.mark.parametrize("key", ["--data-root", "$FMNIST_ROOT"])
@pytest.mark.parametrize("nested", [False, True])
def test_given_folder_without_a_file_is_refused(
    source: data.Source, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, nested: bool
) -> None:
    link(source, tmp_path / "usr", *NAMES)
    root = tmp_path / "root"
    folder = link(source, root / "FashionMNIST" / "raw" if nested else root, TRAIN_IMAGES)
    if key == "$FMNIST_ROOT":
        monkeypatch.setenv("FMNIST_ROOT", str(root))
    with pytest.raises(InputError, match=TRAIN_LABELS) as caught:
        data.locate(data_root=root if key == "--data-root" else None)
    assert (caught.value.file, caught.value.key) == (folder, key)


def test_given_folder_that_is_not_there_is_refused(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder not found") as caught:
        data.locate(data_root=tmp_path / "nowhere")
    assert caught.value.file == tmp_path / "nowhere"


def test_arrays(source: data.Source, training: data.Images) -> None:
    test = source.read_test()
    for images, count in ((training, 60_000), (test, 10_000)):
        assert images.images.shape == (count, 28, 28)
        assert images.images.dtype == images.labels.dtype == np.uint8
        assert np.bincount(images.labels).tolist() == [count // 10] * 10
        buffers: list[pickle.PickleBuffer] = []
        assert len(pickle.dumps(images, protocol=5, buffer_callback=buffers.append)) < 1_000
        assert [buffer.raw().nbytes for buffer in buffers] == [count * 784, count]
    assert training.images.tobytes() == content_of(source, TRAIN_IMAGES)[16:]
    assert training.labels.tobytes() == content_of(source, TRAIN_LABELS)[8:]


def test_plain_file_is_preferred(source: data.Source, training: data.Images, tmp_path: Path) -> None:
    folder = link(source, tmp_path, TRAIN_IMAGES)
    (folder / TRAIN_LABELS).write_bytes(content_of(source, TRAIN_LABELS))
    (folder / f"{TRAIN_LABELS}.gz").write_bytes(b"not looked at")
    assert np.array_equal(KnownFiles("fashion-mnist", folder, "").read_training().labels, training.labels)


def other_bytes(content: bytes) -> bytes:
    """Noise under the real header: labels stay in 0..9."""
    return content[:16] + np.random.default_rng(0).integers(0, 10, len(content) - 16, np.uint8).tobytes()


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "noise": ("", other_bytes, r"differs in content from the published file \(SHA-256 [0-9a-f]{64}\)"),
    "one pixel": ("", lambda content: content[:-1] + bytes([content[-1] ^ 1]), "differs in content"),
    "empty": ("", lambda content: b"", r"is not an IDX file .*\(it begins with nothing\)"),
    "only the magic": ("", lambda content: content[:4], "is not an IDX file"),
    "another magic": ("", lambda content: b"\0\0\x08\x03" + content[4:], r"is not an IDX file .*00000803"),
    "another count": ("", lambda content: content[:4] + b"\0\0\0\7" + content[8:], r"holds an array of \(7,\)"),
    "cut off": ("", lambda content: content[:-1], "is 60007 bytes long uncompressed, not 60008"),
    "longer": ("", lambda content: content + b"\0", "is 60009 bytes long uncompressed, not 60008"),
    "not gzip": (".gz", lambda content: content, "cannot be read"),
    "gzip cut off": (".gz", lambda content: gzip.compress(content)[:-2_000], "cannot be read"),
    "gzip damaged": (".gz", lambda content: gzip.compress(content)[:5_000] + bytes(20_000), "cannot be read"),
    "gzip of noise": (".gz", lambda content: gzip.compress(other_bytes(content)), "differs in content"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_named(source: data.Source, tmp_path: Path, damage: str) -> None:
    suffix, spoil, what = DAMAGES[damage]
    path = link(source, tmp_path, TRAIN_IMAGES) / f"{TRAIN_LABELS}{suffix}"
    path.write_bytes(spoil(content_of(source, TRAIN_LABELS)))
    with pytest.raises(InputError, match=what) as caught:
        data.locate(data_root=tmp_path).read_training()
    assert caught.value.file == path


def test_noise_for_training_images_is_named(source: data.Source, tmp_path: Path) -> None:
    link(source, tmp_path, TRAIN_LABELS)
    pixels = np.random.default_rng(0).integers(0, 256, 60_000 * 784, np.uint8).tobytes()
    (tmp_path / TRAIN_IMAGES).write_bytes(content_of(source, TRAIN_IMAGES)[:16] + pixels)
    with pytest.raises(InputError, match="differs in content") as caught:
        data.locate(data_root=tmp_path).read_training()
    assert caught.value.file == tmp_path / TRAIN_IMAGES


@pytest.mark.parametrize("other", [TRAIN_LABELS, TEST_IMAGES])
def test_swapped_file_is_recognized(source: data.Source, tmp_path: Path, other: str) -> None:
    (tmp_path / TRAIN_IMAGES).write_bytes(content_of(source, other))
    link(source, tmp_path, TRAIN_LABELS)
    with pytest.raises(InputError, match=f"holds what belongs in {other}") as caught:
        data.locate(data_root=tmp_path).read_training()
    assert caught.value.file == tmp_path / TRAIN_IMAGES


def test_folder_in_a_files_place_is_named(source: data.Source, tmp_path: Path) -> None:
    link(source, tmp_path, TRAIN_IMAGES)
    (tmp_path / TRAIN_LABELS).mkdir()
    with pytest.raises(InputError, match="cannot be read") as caught:
        data.locate(data_root=tmp_path).read_training()
    assert caught.value.file == tmp_path / TRAIN_LABELS


def test_search_side_never_opens_the_test_files(source: data.Source, training: data.Images, tmp_path: Path) -> None:
    link(source, tmp_path, TRAIN_IMAGES, TRAIN_LABELS)
    for name in (TEST_IMAGES, TEST_LABELS):
        (tmp_path / name).write_bytes(other_bytes(content_of(source, name)))
    opened: list[str] = []
    watching = True  # an audit hook cannot be taken away
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if watching and event == "open" else None)
    found = data.locate(data_root=tmp_path)
    assert np.array_equal(found.read_training().images, training.images)
    watching = False
    assert any("train-images" in path for path in opened)
    assert not any("t10k" in path for path in opened)
    with pytest.raises(InputError, match="differs in content") as caught:
        found.read_test()
    assert caught.value.file == tmp_path / TEST_IMAGES
    remove(tmp_path, TEST_IMAGES)
    with pytest.raises(InputError, match=r"not found, with or without \.gz") as caught:
        data.locate(data_root=tmp_path).read_test()
    assert caught.value.file == tmp_path / TEST_IMAGES


def test_import_is_light() -> None:
    code = "import sys, tune_fmnist.data; sys.exit(bool({'torch', 'torchvision', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of ``folder``: a ``share`` of each, after calling ``before`` with its path."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.share = folder, 1.0
        self.before: Callable[[str], object] = lambda path: None
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        self.server.before(self.path)
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        # torchvision asks for a file once to see where it is, and hangs up.
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content[: int(len(content) * self.server.share)])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Server]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with contextlib.ExitStack() as stack:

        def start(folder: Path) -> Server:
            server = stack.enter_context(Server(folder))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.fixture(scope="session")
def archives(source: data.Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four files, gzipped."""
    folder = tmp_path_factory.mktemp("archives")
    for name in NAMES:
        archive = source.folder / f"{name}.gz"
        content = archive.read_bytes() if archive.exists() else gzip.compress(content_of(source, name), 1)
        (folder / archive.name).write_bytes(content)
    return folder


@pytest.fixture
def mirror(archives: Path, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch) -> Server:
    """torchvision's only mirror, on this machine."""
    from torchvision.datasets import FashionMNIST

    server = serve(archives)
    digests = {
        path.name: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in archives.iterdir()
    }
    monkeypatch.setattr(FashionMNIST, "mirrors", [server.address])
    monkeypatch.setattr(FashionMNIST, "resources", [(f"{name}.gz", digests[f"{name}.gz"]) for name in NAMES])
    return server


@pytest.fixture
def without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))


@pytest.fixture
def debian(archives: Path, tmp_path: Path, serve: Callable[[Path], Server], monkeypatch: pytest.MonkeyPatch) -> Server:
    """A machine whose apt knows one repository, which has the package, and has no lists of it yet."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("needs apt-get and dpkg-deb, which this system has not")
    repository, package = tmp_path / "repository", tmp_path / "package"
    for folder in (repository, package / "DEBIAN", tmp_path / "lists"):
        folder.mkdir(parents=True)
    shutil.copytree(archives, package / "usr/share/datasets/fashion-mnist")
    control = (
        "Package: dataset-fashion-mnist\nVersion: 1\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: Fashion-MNIST\n"
    )
    (package / "DEBIAN" / "control").write_text(control)
    built = repository / "it.deb"
    subprocess.run(["dpkg-deb", "-Znone", "-b", package, built], check=True, stdout=subprocess.DEVNULL)
    digest = hashlib.sha256(built.read_bytes()).hexdigest()
    (repository / "Packages").write_text(
        f"{control}Filename: ./it.deb\nSize: {built.stat().st_size}\nSHA256: {digest}\n"
    )
    server = serve(repository)
    sources = tmp_path / "sources.list"
    sources.write_text(f"deb [trusted=yes] {server.address} ./\n")
    configuration = tmp_path / "apt.conf"
    options = {"Etc::SourceList": sources, "Etc::SourceParts": "/dev/null", "State::Lists": tmp_path / "lists"}
    configuration.write_text("".join(f'Dir::{option} "{value}";\n' for option, value in options.items()))
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    return server


def assert_complete(cache: Path, training: data.Images) -> None:
    """The cache holds the four files and nothing else, and is found the next time."""
    assert [path.name for path in cache.iterdir()] == ["FashionMNIST"]
    raw = cache / "FashionMNIST" / "raw"
    assert sorted(path.name.removesuffix(".gz") for path in raw.iterdir()) == sorted(NAMES)
    found = data.locate()
    assert found == KnownFiles("fashion-mnist", raw, "cache")
    assert np.array_equal(found.read_training().images, training.images)
    assert len(found.read_test().labels) == 10_000


def test_torchvision_fetches(mirror: Server, bare: Path, training: data.Images) -> None:
    said: list[str] = []
    assert data.locate(say=said.append).origin == "torchvision's download"
    assert said == [
        "Fashion-MNIST: trying torchvision's download",
        f"Fashion-MNIST: {bare / 'FashionMNIST' / 'raw'} (torchvision's download)",
    ]
    assert_complete(bare, training)


def test_deleted_file_is_fetched_again(mirror: Server, bare: Path, training: data.Images) -> None:
    raw = bare / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / TRAIN_IMAGES).write_bytes(b"damaged")
    assert data.locate().origin == "torchvision's download"
    assert_complete(bare, training)


def test_debians_package_is_unpacked_where_the_mirror_is_out_of_reach(
    mirror: Server, bare: Path, training: data.Images, debian: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(FashionMNIST, "mirrors", [UNREACHABLE])
    said: list[str] = []
    assert data.locate(say=said.append).origin == "Debian's package, unpacked"
    assert said[1].startswith("Fashion-MNIST: torchvision's download failed: Error downloading train-images")
    assert UNREACHABLE in said[1]
    assert said[3].startswith("Fashion-MNIST: fetching package lists, because apt-get: E:")
    assert_complete(bare, training)


def test_wrong_content_of_a_package_is_not_kept(
    mirror: Server, bare: Path, debian: Server, monkeypatch: pytest.MonkeyPatch, count: Note
) -> None:
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(FashionMNIST, "mirrors", [UNREACHABLE])
    others = {**known._FILES["fashion-mnist"], TRAIN_LABELS: Expected("0" * 64, (60_000,))}
    monkeypatch.setitem(known._FILES, "fashion-mnist", others)
    with pytest.raises(InputError, match=r"unpacked .*train-labels-idx1-ubyte\.gz: differs in content"):
        data.locate()
    assert list(bare.iterdir()) == []
    count("download with another content", 1)


def test_half_a_download_leaves_nothing(mirror: Server, bare: Path, without_apt: None, count: Note) -> None:
    mirror.share = 0.5
    said: list[str] = []
    with pytest.raises(InputError, match=r"torchvision's download \(.*corrupted.*unpacked \(.*apt-get"):
        data.locate(say=said.append)
    assert sum("failed" in line for line in said) == 2
    assert list(bare.iterdir()) == []
    count("download cut off", 2)


def test_interrupted_download_leaves_nothing(mirror: Server, bare: Path, count: Note) -> None:
    caught = threading.Event()

    def interrupt(path: str) -> None:
        if path.endswith(f"{TEST_LABELS}.gz"):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            caught.wait()

    mirror.before = interrupt
    # A shell's background job begins with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            data.locate()
    finally:
        signal.signal(signal.SIGINT, before)
        caught.set()
    assert list(bare.iterdir()) == []
    count("download interrupted", 1)


def test_two_processes_fetch_at_once(
    debian: Server, bare: Path, training: data.Images, tmp_path: Path, count: Note
) -> None:
    together = threading.Barrier(2, timeout=60)
    debian.before = lambda path: together.wait() if path.endswith(".deb") else None
    code = f"""
import sys
from pathlib import Path
from tune_fmnist import data
from tune_fmnist.data import known
sys.modules["torchvision"] = None  # which makes its import fail
known.DEBIAN_FOLDER = Path({str(tmp_path / "usr")!r})
source = data.locate()
assert source.origin == "Debian's package, unpacked", source
assert len(source.read_training().labels) == 60_000
"""
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert_complete(bare, training)
    count("two downloads at once", 1)


def test_cache_that_cannot_be_made_is_told(
    mirror: Server, bare: Path, without_apt: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=f"could not be fetched.*{tmp_path / 'file'}.*--data-root"):
        data.locate()
