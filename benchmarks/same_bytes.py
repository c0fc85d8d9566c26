"""Show that a change keeps every number: train ten small configurations, predict, and write or compare the hashes.

    python benchmarks/same_bytes.py --out before.json
    python benchmarks/same_bytes.py --against before.json

Run it before and after a change, on one machine: other processors may round differently. The configurations reach the
parts of the model that the defaults leave out. The exit code is 1 if a number has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).parent.parent
SHORT = ["training.max_steps=30", "training.warm_start.max_steps=20"]
SMALL = "{num_inducing: 24, num_inducing_latent: 16}"
Hashes = dict[str, dict[str, str]]

VARIANTS: dict[str, tuple[str, list[str]]] = {
    **{name: (name, []) for name in ("bimodal", "hurricanes", "motorcycle", "penguins")},
    "joint_mixing": (
        "penguins",
        ["model.targets_model=joint", "model.output={mixing: {num_latent_gps: 2}, num_inducing: 24}"],
    ),
    "laplace_add": (
        "motorcycle",
        [
            "model.latent.prior={kind: tfp, family: Laplace, parameters: {loc: 0.0, scale: 1.0}}",
            "model.latent.compositor={kind: add}",
            f"model.output={SMALL}",
        ],
    ),
    "importance_weighted": (
        "motorcycle",
        [
            "training.objective={kind: importance_weighted}",
            "model.layers=[{num_inducing: 16, sees_latent: true}, {num_inducing: 16, sees_latent: true}]",
            f"model.output={SMALL}",
        ],
    ),
    "student_t_per_row": (
        "motorcycle",
        [
            "model.likelihood={kind: student_t}",
            "model.latent.encoder={kind: per_row}",
            "training.batch_size=full",
            f"model.output={SMALL}",
        ],
    ),
    "gpflux_loop": (
        "motorcycle",
        [
            "training.loop=gpflux",
            "training.objective={kind: elbo, num_samples: 1, kl_weight: 1.0}",
            "training.natural_gradient.enabled=false",
            "training.inducing_rate=1.0",
            "model.likelihood={kind: gaussian}",
            f"model.output={SMALL}",
        ],
    ),
    "group_validation": (
        "hurricanes",
        ["data.split={kind: group, column: year, validation: 0.2}", "model.targets_model=joint", "training.ensemble=1"],
    ),
}


def cde(*words: object) -> None:
    """Run a command that must end with 0."""
    result = subprocess.run([sys.executable, "-m", "cde_app", *map(str, words)], capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"cde {' '.join(map(str, words))}: exit {result.returncode}: {result.stderr.strip()[-800:]}")


def array_hash(folder: Path) -> str:
    """Return the hash of all arrays of a stored posterior, whatever their names and their order; of those with values.

    What is stored empty holds no number, and may go.
    """
    hashes = []
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path) as arrays:
            contents = (arrays[name] for name in arrays.files)
            hashes += [
                hashlib.sha256(str((a.dtype, a.shape)).encode() + a.tobytes()).hexdigest() for a in contents if a.size
            ]
    return hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hashes_of(name: str, folder: Path) -> dict[str, str]:
    """Train and predict, and return what is to stay."""
    config, overrides = VARIANTS[name]
    sets = [word for setting in [*SHORT, *overrides] for word in ("--set", setting)]
    run, out = folder / "run", folder / "out"
    cde("train", PROJECT / "configs" / f"{config}.yaml", "--out", run, "--quiet", *sets)
    cde("predict", run, PROJECT / "data" / f"{config}.csv", "--out", out)
    events = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    numbers = [{key: value for key, value in event.items() if "second" not in key} for event in events]
    return {
        "posterior": array_hash(run / "posterior"),
        "history": hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest(),
        "metrics": file_hash(run / "metrics.json"),
        "summary": file_hash(out / "summary.csv"),
        "samples": file_hash(out / "samples.csv"),
    }


def main() -> int:
    """Run the variants one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file for the hashes")
    parser.add_argument("--against", type=Path, help="hashes of another commit")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    options = parser.parse_args()
    before: Hashes = json.loads(options.against.read_text()) if options.against else {}
    found: Hashes = {}
    changed = False
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = hashes_of(name, Path(folder))
        old = before.get(name, {})
        differ = [part for part, value in found[name].items() if old.get(part, value) != value]
        changed |= bool(differ)
        compared = "" if not old else f"changed: {', '.join(differ)}" if differ else "the same"
        print(f"{name}: {compared or found[name]['posterior'][:16]}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    return int(changed)


if __name__ == "__main__":
    sys.exit(main())
