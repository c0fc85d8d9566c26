"""Build the sdist and the wheel, check what is in them, and try the wheel; see "Releases" in CONTRIBUTING.md.

    python .ci/release.py --out dist

What is in the folder is replaced by the two, once they have passed; if they do not, it is left as it was.
The wheel is built from the unpacked sdist, so that both are complete, and tried in an empty environment, into which pip
installs requirements-predict.lock. With --lend the environment sees the packages of this one instead.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from cde_app import __version__  # noqa: E402
from cde_app.runs.migrations import FORMAT_VERSION  # noqa: E402
from tests.golden import STORED, check_predictions  # noqa: E402

FOR_PEOPLE = ("CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md")
BUILT_FROM = ("cde_app", "tests", "MANIFEST.in", "pyproject.toml", *FOR_PEOPLE)
BUILD = "import sys, setuptools.build_meta as backend; getattr(backend, sys.argv[1])(sys.argv[2])"


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist from a copy of the tree and the wheel from the sdist, in an empty folder, and return both.

    Nothing is fetched: setuptools is that of this environment.
    """
    source, built = folder / "source", folder / "built"
    for name in BUILT_FROM:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / name, source)
    built.mkdir()
    _run([sys.executable, "-c", BUILD, "build_sdist", built], cwd=source)
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    _run([sys.executable, "-c", BUILD, "build_wheel", built], cwd=folder / sdist.name[: -len(".tar.gz")])
    (wheel,) = built.glob("*.whl")
    return sdist, wheel


def faults_of(sdist: Path, wheel: Path) -> list[str]:
    """Return what is missing in the sdist and the wheel, and what does not belong there."""
    package = {str(path.relative_to(PROJECT)) for path in (PROJECT / "cde_app").rglob("*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as archive:
        found = set(archive.namelist())
        about = f"cde_app-{__version__}.dist-info"
        header = archive.read(f"{about}/METADATA").decode() if f"{about}/METADATA" in found else ""
    names = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
    faults = _differences(wheel, found, package | {f"{about}/{name}" for name in names})
    metadata = HeaderParser().parsestr(header)
    if metadata["Version"] != __version__ or metadata["License-Expression"] != "Apache-2.0":
        faults.append(f"{wheel.name}: expected version {__version__} and its licence; got {metadata['Version']}")
    with tarfile.open(sdist) as archive:
        files = [member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()]
    own = {name for name in files if not name.startswith("cde_app.egg-info/")}
    return faults + _differences(
        sdist, own, package | {"MANIFEST.in", "PKG-INFO", "pyproject.toml", "setup.cfg", *FOR_PEOPLE}
    )


def _differences(archive: Path, found: set[str], expected: set[str]) -> list[str]:
    missing = [f"{archive.name}: expected {name}; got nothing" for name in sorted(expected - found)]
    return missing + [f"{archive.name}: expected no {name}" for name in sorted(found - expected)]


def install(wheel: Path, folder: Path, *, lend: bool) -> Path:
    """Install the wheel into a new environment and return its `cde`.

    Args:
        wheel: the wheel.
        folder: the folder of the environment.
        lend: let it see the packages of this environment; else pip installs those of requirements-predict.lock.
    """
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet"]
    if lend:
        where = _run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], cwd=folder).strip()
        Path(where, "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    else:
        _run([*pip, "-r", PROJECT / "requirements-predict.lock"], cwd=folder)
    _run([*pip, "--no-deps", "--no-index", wheel], cwd=folder)
    return folder / "bin/cde"


def try_out(cde: Path, folder: Path) -> None:
    """Run what was installed as a user would, in an empty folder, and compare its predictions with stored ones."""
    python = [cde.parent / "python", "-c", "import cde_app; print(cde_app.__file__)"]
    if str(cde.parents[1]) not in _run(python, cwd=folder):
        raise RuntimeError("expected the installed package; got another one")
    if (printed := _run([cde, "--version"], cwd=folder)) != f"cde {__version__}\n":
        raise RuntimeError(f"cde --version: expected {__version__}; got {printed!r}")
    if json.loads(_run([cde, "doctor", "--json"], cwd=folder))["packages"]["numpy"] == "missing":
        raise RuntimeError("cde doctor: expected the packages that the wheel depends on; got none")
    for stored in sorted((STORED / f"format_{FORMAT_VERSION}").iterdir()):
        run, out = folder / stored.name, folder / f"{stored.name}-out"
        shutil.copytree(stored / "run", run)
        _run([cde, "verify", run], cwd=folder)
        _run([cde, "predict", run, STORED / "new.csv", "--out", out], cwd=folder)
        check_predictions(out, stored)
        _run([cde, "report", run], cwd=folder)
        if "<style" not in (run / "report.html").read_text():
            raise RuntimeError("cde report: expected a page with its style; got none")


def publish(out: Path, *archives: Path) -> list[Path]:
    """Copy archives to a folder, and delete what older releases have left there; return the copies.

    Raises:
        RuntimeError: something else is there; nothing is deleted then.
    """
    out.mkdir(parents=True, exist_ok=True)
    older = list(out.iterdir())
    if other := [path for path in older if not (path.is_file() and path.name.endswith((".tar.gz", ".whl")))]:
        raise RuntimeError(f"{out}: expected sdists and wheels only; got {other[0].name}")
    for path in older:
        path.unlink()
    return [Path(shutil.copy(archive, out)) for archive in archives]


def _run(command: list[object], *, cwd: Path) -> str:
    """Run a command outside this tree, and return its standard output."""
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=outside, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """Build, check, try, publish, and say whether the changelog is ready."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the sdist and the wheel")
    parser.add_argument("--lend", action="store_true", help="let the environment see the packages of this one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        building, trying = Path(temporary, "build"), Path(temporary, "try")
        building.mkdir()
        trying.mkdir()
        archives = build(building)
        if faults := faults_of(*archives):
            print(*(f"error: {fault}" for fault in faults), sep="\n", file=sys.stderr)
            return 1
        try_out(install(archives[1], trying / "venv", lend=arguments.lend), trying)
        print(*publish(arguments.out, *archives), sep="\n")
    heading = rf"^## {re.escape(__version__)} - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE):
        print(f"not a release yet: CHANGELOG.md has no heading '## {__version__} - DATE'", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
