"""A value looked for in files, as raw bytes: the data directory, JetStream's store, dumps."""

import shutil
import subprocess
from bz2 import BZ2File
from collections.abc import Callable, Iterator, Mapping
from gzip import GzipFile
from io import BufferedIOBase
from lzma import LZMAError, LZMAFile
from pathlib import Path
from typing import IO, Final, TypeAlias

import msgspec
from msgspec import Struct

from runtime.leftovers.needles import Finder, Needle
from runtime.leftovers.report import Report, Searched, Unsearched, in_bytes

PIECE: Final = 1024 * 1024

_HEAD_BYTES: Final = 4096
_PLAIN_DUMP: Final = b"PostgreSQL database"
_CUSTOM_DUMP: Final = b"PGDMP"
_COMPRESSED_BLOCK: Final = b"cmp"

Advance: TypeAlias = Callable[[int], None]
_Content: TypeAlias = IO[bytes] | BufferedIOBase
_READERS: Final[dict[bytes, Callable[[Path], BufferedIOBase]]] = {
    b"\x1f\x8b": GzipFile,
    b"\xfd7zXZ": LZMAFile,
    b"BZh": BZ2File,
}


class _StreamMeta(Struct, frozen=True):
    name: str = ""
    compression: str = "none"


def pieces(file: _Content, advance: Advance) -> Iterator[bytes]:
    """The content of a file in pieces of bounded size."""
    while piece := file.read(PIECE):
        advance(len(piece))
        yield piece


def search_data_directory(
    report: Report,
    needles: list[Needle],
    folder: Path,
    relations: Mapping[str, str],
    gone: str,
    advance: Advance,
) -> None:
    """Look through every file of a server; `relations` names the files of tables and indexes."""
    place = f"data directory {folder}"
    if not (folder / "PG_VERSION").is_file():
        report.unsearched.append(
            Unsearched(
                place=place,
                reason="it is no data directory that can be read from here",
                try_next="run this on the machine of the server, as the user of Postgres or root",
            )
        )
        return
    found: dict[str, Finder] = {}

    def finder_of(path: Path) -> Finder:
        kind = _kind(path.relative_to(folder).as_posix(), relations)
        return found.setdefault(kind, Finder(needles))

    size, shut = _search_folder(folder, finder_of, advance)
    for kind, finder in found.items():
        report.add(needles, finder, f"files of the server: {kind}", gone)
    if shut:
        _add_shut(report, place, shut)
    report.searched.append(
        Searched(
            place=place,
            extent=in_bytes(size),
            limits=["what Postgres compressed (rows over 2 kB) is not seen in files, only by SQL"],
        )
    )


def search_jetstream_directory(
    report: Report, needles: list[Needle], folder: Path, gone: str, advance: Advance
) -> None:
    """Look through the files of JetStream; says so of those that are compressed or encrypted."""
    place = f"JetStream files {folder}"
    streams = sorted(folder.glob("**/streams/*/msgs"))
    if not streams:
        report.unsearched.append(
            Unsearched(
                place=place,
                reason="it holds no stream, or cannot be read from here",
                try_next="the store_dir of the NATS server, on its machine",
            )
        )
        return
    for messages in streams:
        reason = _unreadable(messages.parent)
        if reason:
            report.unsearched.append(
                Unsearched(
                    place=f"{place}, stream {messages.parent.name}",
                    reason=reason,
                    try_next="the server is asked message by message where NATS is known",
                )
            )
    raft = sorted(folder.glob("**/_js_/*/msgs"))
    if any(path.parent.name.startswith("S-") for path in raft):
        report.unsearched.append(
            Unsearched(
                place=f"{place}, Raft logs",
                reason="a cluster compresses what it replicates",
                try_next="wait until the Raft logs are compacted; NATS' `cipher` hides them",
            )
        )
    finder = Finder(needles)
    size, shut = _search_folder(folder, lambda _: finder, advance)
    report.add(needles, finder, "files of JetStream", gone)
    if shut:
        _add_shut(report, place, shut)
    report.searched.append(Searched(place=place, extent=in_bytes(size)))


def _search_folder(
    folder: Path, finder_of: Callable[[Path], Finder], advance: Advance
) -> tuple[int, int]:
    """Look through every file below: how many bytes, and how many files cannot be read."""
    size, shut = 0, 0
    for path in sorted(folder.rglob("*")):
        finder = finder_of(path)
        try:
            if path.is_file():
                size += _search_file(finder, path, advance)
        except FileNotFoundError:
            # It was removed while we looked.
            continue
        except OSError:
            shut += 1
    return size, shut


def search_dump(
    report: Report,
    needles: list[Needle],
    path: Path,
    pg_restore: Path | None,
    gone: str,
    advance: Advance,
) -> None:
    """Look through a dump in any format of pg_dump, and what gzip, bzip2 or xz made of one."""
    place = f"dump {path.name}"
    finder = Finder(needles)
    try:
        size = _search_dump(finder, path, pg_restore, advance)
    except (OSError, EOFError, LZMAError, _NoDump) as error:
        report.unsearched.append(
            Unsearched(
                place=place,
                reason=str(error) or type(error).__name__,
                try_next="a dump that pg_dump made, uncompressed or by gzip, bzip2 or xz",
            )
        )
    else:
        report.searched.append(Searched(place=place, extent=in_bytes(size)))
    report.add(needles, finder, place, gone)


class _NoDump(Exception):
    pass


def _search_dump(finder: Finder, path: Path, pg_restore: Path | None, advance: Advance) -> int:
    if path.is_dir():
        if not (path / "toc.dat").is_file():
            raise _NoDump("the folder is no dump of pg_dump: it has no toc.dat")
        return _search_restored(finder, path, pg_restore, advance)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_CUSTOM_DUMP) or head[:7] == b"toc.dat":
        return _search_restored(finder, path, pg_restore, advance)
    reader = next((open_ for magic, open_ in _READERS.items() if head.startswith(magic)), None)
    with reader(path) if reader else path.open("rb") as file:
        content = pieces(file, advance)
        first = next(content, b"")
        if _PLAIN_DUMP not in first[:_HEAD_BYTES]:
            raise _NoDump("it does not begin as a dump does: perhaps it is encrypted")
        finder.feed(first)
        return len(first) + _feed(finder, content)


def _search_restored(finder: Finder, path: Path, pg_restore: Path | None, advance: Advance) -> int:
    """Have pg_restore print the dump as SQL: nothing is restored."""
    if pg_restore is None:
        raise _NoDump("it takes pg_restore to read it, and that is not here")
    command = [pg_restore, "--file=-", path]
    return search_output(finder, command, {}, advance)


def search_output(
    finder: Finder, command: list[Path | str], environ: dict[str, str], advance: Advance
) -> int:
    """Look through what a program prints; raises OSError when it fails. How many bytes."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdout is not None, "it is a pipe"  # noqa: S101 - a type guard
        assert process.stderr is not None, "it is a pipe"  # noqa: S101 - a type guard
        size = _feed(finder, pieces(process.stdout, advance))
        words = process.stderr.read(2000).decode(errors="replace").strip()
    if process.returncode:
        raise OSError(f"{Path(command[0]).name} failed: {words or process.returncode}")
    return size


def find_program(folder: Path | None, name: str) -> Path | None:
    """A program of Postgres: of this folder, else of PATH."""
    if folder is not None and (folder / name).is_file():
        return folder / name
    on_path = shutil.which(name)
    return None if on_path is None else Path(on_path)


def _feed(finder: Finder, content: Iterator[bytes]) -> int:
    size = 0
    for piece in content:
        size += len(piece)
        finder.feed(piece)
    finder.end()
    return size


def _search_file(finder: Finder, path: Path, advance: Advance) -> int:
    with path.open("rb") as file:
        return _feed(finder, pieces(file, advance))


def _kind(name: str, relations: Mapping[str, str]) -> str:
    top = name.split("/", 1)[0]
    if top == "pg_wal":
        return "write-ahead log"
    if "pgsql_tmp" in name:
        return "temporary files"
    # `base/5/16384.1_fsm` belongs to base/5/16384.
    relation = relations.get(
        name.split("_", maxsplit=1)[0].split(".", maxsplit=1)[0] if top == "base" else name
    )
    if relation is not None:
        return relation
    return "tables or indexes that are no more, or of another database" if top == "base" else top


def _unreadable(stream: Path) -> str:
    if (stream / "meta.key").exists():
        return "it is encrypted by NATS' `cipher`"
    try:
        meta = msgspec.json.decode((stream / "meta.inf").read_bytes(), type=_StreamMeta)
        if meta.compression != "none":
            return f"it is compressed by {meta.compression}"
        for block in sorted((stream / "msgs").glob("*.blk")):
            with block.open("rb") as file:
                if file.read(3) == _COMPRESSED_BLOCK:
                    return "some of its blocks are compressed"
    except msgspec.DecodeError:
        return "its description is not as NATS writes it in clear"
    except OSError as error:
        return f"it cannot be read from here: {error.strerror}"
    return ""


def _add_shut(report: Report, place: str, files: int) -> None:
    report.unsearched.append(
        Unsearched(
            place=place,
            reason=f"{files} files cannot be read by this user",
            try_next="run this as the user of the server, or as root",
        )
    )
