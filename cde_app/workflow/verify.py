"""`cde verify`: whether a run is, byte for byte, what its training has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cde_app.errors import RunError
from cde_app.runs.checks import check_hashes, read_manifest
from cde_app.runs.contents import SUMS
from cde_app.runs.run import Run
from cde_app.runs.sums import listed_files, read_sums
from cde_app.trained_model import TrainedModel
from cde_app.workflow.scoring import stored_scores


def verify_run(run_path: Path) -> dict[str, Any]:
    """Compute the hash of every file of a run again, and load the model.

    Returns:
        {"run", "files", "warnings"}: the number of files that are unchanged, and whole sentences.

    Raises:
        RunError: the run is missing, not a run or incomplete, or files have changed, are missing or were added; one
            line for each.
    """
    run = Run.open(run_path)
    outputs, sums = read_manifest(run_path)["outputs"], read_sums(run_path)
    hashes = outputs | sums
    added = [name for name in listed_files(run_path) if name not in hashes]
    faults: list[str] = []
    try:
        check_hashes(run_path, hashes)
    except RunError as error:
        faults += error.faults
    faults += [
        f"{run.file(name)}: the manifest and {SUMS} must agree; got two hashes. Train the run again."
        for name in sorted(outputs.keys() & sums.keys())
        if outputs[name] != sums[name]
    ]
    if sums:
        faults += [f"{run.file(name)}: expected its hash in {SUMS}; got none. Remove the file." for name in added]
    if faults:
        raise RunError(*faults)
    TrainedModel.load(run)
    run.history()
    stored_scores(run)
    warnings = (
        [] if sums else [f"the run has no {SUMS}, as it was written by an older cde: {len(added)} files unchecked."]
    )
    return {"run": run_path, "files": len(hashes), "warnings": warnings}
