"""`cde info`: what a run is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cde_app.runs.run import Run
from cde_app.workflow.scoring import stored_scores

FACTS = (
    "format_version",
    "cde_version",
    "seed",
    "seconds",
    "trainings",
    "transforms",
    "uses_neighbours",
    "calibration",
    "rows",
    "dropped_features",
)
"""Keys of the manifest that are shown."""


def describe_run(run_path: Path) -> dict[str, Any]:
    """Describe a run: its table, model, training, scores and versions.

    `own_encoder` is there only if the run was trained with one, and names it.

    Raises:
        RunError: the run is missing, incomplete, corrupt or from a newer format.
    """
    run = Run.open(run_path)
    manifest, data = run.manifest(), run.settings()["data"]
    return {
        "run": str(run_path),
        "data": {
            "path": data["path"],
            "inputs": [column["column"] for column in data["inputs"]],
            "targets": [column["column"] for column in data["targets"]],
        },
        **{name: manifest[name] for name in FACTS},
        **({"own_encoder": manifest["own_encoder"]} if manifest.get("own_encoder") else {}),
        "metrics": stored_scores(run),
    }
