"""Fuzz one target, guided by coverage: `python tests/fuzz/fuzz.py csv --seconds 120`.

It needs atheris, which is no part of the install: `pip install atheris`. What it finds is a file `crash-...` in the
working folder; `python tests/fuzz/fuzz.py csv crash-...` runs that input again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


READERS = [
    "yaml",
    *(f"cde_app.{name}" for name in ("cli", "config", "config_file", "data", "machine", "runs", "trees")),
]
"""What is watched: the modules that read; the others would only cost time."""


def main() -> None:
    """Read the command line and fuzz until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="a name in targets.TARGETS, or run")
    parser.add_argument("inputs", nargs="*", help="inputs to run once, instead of fuzzing")
    parser.add_argument("--run", type=Path, help="a trained run, for the target run")
    parser.add_argument("--seconds", type=int, default=120)
    asked = parser.parse_args()

    import atheris

    with atheris.instrument_imports(include=READERS):
        from tests.fuzz.targets import SEEDS, TARGETS, RunTarget

    with tempfile.TemporaryDirectory() as folder:
        target = RunTarget(asked.run, Path(folder)) if asked.target == "run" else TARGETS[asked.target]
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(SEEDS.get(asked.target, (b"\0",))):
            (corpus / str(number)).write_bytes(seed)
        what = asked.inputs or [f"-max_total_time={asked.seconds}", "-timeout=60", "-max_len=4096", str(corpus)]
        atheris.Setup([sys.argv[0], *what], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
