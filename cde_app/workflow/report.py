"""`cde report`: one page about a run."""

from __future__ import annotations

from pathlib import Path

from cde_app.runs.run import Run


def write_report(run_path: Path) -> Path:
    """Write one self-contained HTML page about a run, and return its path.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format, or another process is writing it.
    """
    from cde_app.report.html import render_report

    run = Run.open(run_path)
    with run.held():
        pictures = {path.stem: path.read_bytes() for path in run.files("plots")}
        manifest = {key: value for key, value in run.manifest().items() if key != "settings"}
        warnings = [
            f"{name} is constant in the training rows and was left out." for name in manifest["dropped_features"]
        ]
        warnings += [warning[0].upper() + warning[1:] for warning in manifest["warnings"]]
        page = render_report(
            run_path.resolve().name,
            run.read_json("metrics.json"),
            pictures,
            run.read_bytes("config.yaml").decode(),
            manifest,
            warnings,
            run.history(),
        )
        return run.write_text("report.html", page)
