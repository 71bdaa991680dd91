"""CPU seconds and peak memory of the moments path on 200,000 units × 52 periods with five cohorts."""

from __future__ import annotations

import resource
import time

import numpy as np

import strategy_kit as sk

UNITS, PERIODS = 200_000, 52
STARTS = (10, 20, 30, 40, 50, np.inf)


def peak() -> float:
    """Return the largest memory this process has used, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run once and print a line a step."""
    draw = np.random.default_rng(1)
    outcome = draw.standard_normal((UNITS, PERIODS))
    starts = draw.choice(STARTS, UNITS)
    matrix, before = outcome.nbytes / 2**20, peak()
    clock = time.process_time()
    panel = sk.Panel.from_matrix(outcome, treated_from=starts)
    panel.moments  # noqa: B018  # the scan happens here
    scanned = time.process_time()
    study = sk.did.event_study(sk.did.group_time(panel, control="not_yet"))
    study.tidy()
    done = time.process_time()
    print(f"matrix {matrix:.0f} MB; moments {scanned - clock:.2f} s; effects and bands {done - scanned:.2f} s (CPU)")
    print(f"added memory {peak() - before:.0f} MB, {(peak() - before) / matrix:.1f} × the matrix")


if __name__ == "__main__":
    main()
