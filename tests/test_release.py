"""What is released is complete: the wheel is built, checked, installed elsewhere, and predicts what is stored."""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def release() -> ModuleType:
    """The script `.ci/release.py` as a module."""
    spec = importlib.util.spec_from_file_location("release", PROJECT / ".ci/release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(release: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return release.build(tmp_path_factory.mktemp("build"))


@pytest.mark.parametrize("failing", ["faults_of", "install", "try_out", "other", None])
def test_only_what_has_passed_takes_the_place_of_an_older_release(
    failing: str | None, release: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "dist"
    out.mkdir()
    older = {"cde_app-0.0.1.tar.gz", "cde_app-0.0.1-py3-none-any.whl"} | (
        {"notes.txt"} if failing == "other" else set()
    )
    for name in older:
        (out / name).touch()

    def build(folder: Path) -> tuple[Path, Path]:
        archives = folder / "a.tar.gz", folder / "a.whl"
        for archive in archives:
            archive.touch()
        return archives

    def fail(*_: object, **__: object) -> list[str]:
        if failing == "faults_of":
            return ["a fault"]
        raise RuntimeError("failed")

    steps = {"build": build, "faults_of": lambda *_: [], "install": lambda *_, **__: out, "try_out": lambda *_: None}
    for name, step in (steps | ({failing: fail} if failing in steps else {})).items():
        monkeypatch.setattr(release, name, step)
    monkeypatch.setattr("sys.argv", ["release.py", "--out", str(out)])
    if failing in ("faults_of", None):
        assert release.main() == (failing is not None)
    else:
        with pytest.raises(RuntimeError, match="failed|sdists and wheels only; got notes.txt"):
            release.main()
    assert {path.name for path in out.iterdir()} == (older if failing else {"a.tar.gz", "a.whl"})


@pytest.mark.slow
def test_the_wheel_and_the_sdist_have_the_package_and_nothing_else(
    release: ModuleType, built: tuple[Path, Path]
) -> None:
    assert release.faults_of(*built) == []


@pytest.mark.slow
def test_a_wheel_without_a_template_or_with_a_test_is_found(
    release: ModuleType, built: tuple[Path, Path], tmp_path: Path
) -> None:
    sdist, wheel = built
    other = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            if name != "cde_app/report/templates/report.css":
                target.writestr(name, source.read(name))
        target.writestr("tests/test_x.py", "")
    assert release.faults_of(sdist, other) == [
        f"{wheel.name}: expected cde_app/report/templates/report.css; got nothing",
        f"{wheel.name}: expected no tests/test_x.py",
    ]


@pytest.mark.slow
def test_the_installed_wheel_predicts_what_is_stored(
    release: ModuleType, built: tuple[Path, Path], tmp_path: Path
) -> None:
    cde = release.install(built[1], tmp_path / "venv", lend=True)
    release.try_out(cde, tmp_path)
    (package,) = (tmp_path / "venv").rglob("cde_app/report")
    shutil.rmtree(package / "templates")
    shutil.rmtree(tmp_path / "chain")
    shutil.rmtree(tmp_path / "chain-out")
    with pytest.raises(RuntimeError, match="report"):
        release.try_out(cde, tmp_path)
