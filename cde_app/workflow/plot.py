"""`cde plot`: the pictures of a run."""

from __future__ import annotations

from pathlib import Path

from cde_app.data.fingerprints import seen_warning
from cde_app.machine.storage import write_atomically
from cde_app.runs.folder import arriving, check_is_outside
from cde_app.runs.run import Run
from cde_app.trained_model import TrainedModel
from cde_app.workflow.pictures import ImageFormat, missing_picture, run_pictures, write_pictures
from cde_app.workflow.scoring import num_seen_rows, own_table_warning, score_table, table_to_judge_by


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
    folder = run_path / "plots" if out_path is None else out_path
    is_own = folder.resolve() == (run_path / "plots").resolve()
    if not is_own:
        check_is_outside(folder)
    with run.held() if is_own else arriving(folder) as waiting:
        model = TrainedModel.load(run)
        with table_to_judge_by(run, model, data_path) as table:
            _, rows = score_table(model, table)
            pictures = run_pictures(run.history(), model, table, rows, image_format)
            warnings = []
            if data_path is not None:
                seen = seen_warning(num_seen_rows(run, model, table), len(table.fingerprints))
                found = own_table_warning(table, data_path) or seen
                warnings = [found] if found else []
            files, failures = write_pictures(
                lambda: pictures,
                lambda name, content: (
                    run.write_bytes(f"plots/{name}", content)
                    if waiting is None
                    else write_atomically(waiting / name, content)
                ),
            )
            if failures and not files:
                raise next(iter(failures.values()))
    missing = [missing_picture(*failure) for failure in failures.items()]
    return [folder / file.name for file in files], warnings + missing
