"""`cde plot`: the pictures of a run."""

from __future__ import annotations

from pathlib import Path

from cde_app.errors import RunError
from cde_app.machine.storage import write_atomically
from cde_app.runs.folder import held, status
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.pictures import ImageFormat, missing_picture, run_pictures, write_pictures
from cde_app.workflow.scoring import score_table, seen_rows_warning, table_to_judge_by


def plot_run(
    run_path: Path, data_path: Path | None, out_path: Path | None, *, image_format: ImageFormat
) -> tuple[list[Path], list[str]]:
    """Draw the pictures of a run, for its held-out rows or another table; return the files and warnings.

    Args:
        run_path: the run directory.
        data_path: the other table.
        out_path: the folder for the pictures; None for the run's own folder, for its held-out rows.
        image_format: format of the pictures.

    Raises:
        DataError: the table breaks the column contract or lacks the targets.
        RunError: the run cannot be read, its table has changed, or another process is writing the folder.
    """
    run = Run.open(run_path)
    if out_path is not None and status(out_path):
        raise RunError(f"{out_path} is a run; choose another --out, or leave it out for the run's plots folder.")
    folder = run_path / "plots" if out_path is None else out_path
    with run.held() if folder.resolve() == (run_path / "plots").resolve() else held(folder):
        model = TrainedModel.load(run)
        with table_to_judge_by(run, model, data_path) as table:
            _, rows = score_table(model, table)
            pictures = run_pictures(run.history(), model, table, rows, image_format)
            seen = None if data_path is None else seen_rows_warning(run, model, table)
            warnings = [seen] if seen else []
            files, failures = write_pictures(
                lambda: pictures, lambda name, content: write_atomically(folder / name, content)
            )
    if failures and not files:
        raise next(iter(failures.values()))
    return files, warnings + [missing_picture(what, error) for what, error in failures.items()]
