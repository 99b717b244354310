"""`python -m tests.fuzz TARGET ... --seconds N`: fuzz readers, and tell what came of it; exit 1 where a fault is found.

Without a target all are fuzzed, one after the other. Files that show a fault stay in the folder --out; read one again
with --replay FILE.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.engine import fuzz
from tests.fuzz.targets import TARGETS, prepare, run

METRICS = "metrics"  # a target that reads no file: numbers against brute force, see `differential`


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join((*TARGETS, METRICS)))
    parser.add_argument("--seconds", type=float, default=10, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "calibeval-fuzz")
    parser.add_argument("--blind", action="store_true", help="without atheris")
    parser.add_argument("--ask", type=int, default=1, metavar="N", help="another reader about one file in N only")
    parser.add_argument("--replay", type=Path, help="read this one file as TARGET")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.targets if name not in (*TARGETS, METRICS)]:
        parser.error(f"unknown target {unknown[0]}; known: {', '.join(TARGETS)}")
    return chosen


def _replay(name, file):
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        path, _ = prepare(target, Path(folder))
        path.write_bytes(file.read_bytes())
        print(run(target, path, file.read_bytes()) if target.wrap is bytes else target.read(path))


def _metrics(chosen):
    from tests.fuzz.differential import search

    cases, compared, differing = search(chosen.seconds, chosen.seed)
    print(
        f"{METRICS}: {cases} cases, {compared} numbers compared with brute force, {len(differing)} differ", flush=True
    )
    print(*(f"  {line}" for line in differing), sep="\n", end="\n" if differing else "")
    return len(differing)


def main():
    chosen = _arguments()
    if chosen.replay:
        return _replay(chosen.targets[0], chosen.replay)
    faults = 0
    for name in chosen.targets or (*TARGETS, METRICS):
        if name == METRICS:
            faults += _metrics(chosen)
            continue
        begun = time.monotonic()
        guided = False if chosen.blind else None
        outcome = fuzz(name, chosen.seconds, chosen.out, seed=chosen.seed, guided=guided, ask=chosen.ask)
        rate = outcome.runs / (time.monotonic() - begun)
        print(
            f"{name}: {outcome.runs} files ({rate:.0f}/s), {outcome.read} read, {outcome.compared} of these as another "
            f"reader does, {len(outcome.findings)} faults",
            flush=True,
        )
        for kind, file in outcome.findings.items():
            print(f"  {kind}: {file}")
        faults += len(outcome.findings)
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
