"""A small file in the format of the Rochester tables, and the formulas written out for one muon."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from scipy.stats import norm

MEMBERS = ((0, 0), (1, 0), (1, 1), (2, 0))
N_PHI, N_LAYERS, LEAST_LAYERS = 4, 3, 6
ETA, ABS_ETA = (-2.4, 0.0, 1.2, 2.4), (0.0, 1.2, 2.4)


def parameters() -> dict[str, np.ndarray]:
    """Return tables of random numbers of the real size, by (member, ...)."""
    draw = np.random.default_rng(5)
    n, eta, abs_eta = len(MEMBERS), len(ETA) - 1, len(ABS_ETA) - 1
    cells = (n, abs_eta, N_LAYERS)
    smear = [draw.uniform(low, high, cells) for low, high in ((0.008, 0.02), (1e-5, 9e-5), (1e-6, 9e-6))]
    smear += [draw.uniform(low, high, cells) for low, high in ((0.9, 1.1), (1.2, 2.0), (3.0, 9.0))]
    return {
        "C": draw.normal(0, 0.05, (n, 2, 2, eta, N_PHI)) * np.array([1.0, 0.02])[:, None, None],
        "F": np.stack([draw.uniform(0.97, 1.0, (n, abs_eta)), draw.uniform(1.02, 1.08, (n, abs_eta))], axis=1),
        "R": np.stack(smear, axis=1),
    }


def write(path: Path, *, leave_out: str = "") -> dict[str, np.ndarray]:
    """Write the file, without the lines that start with ``leave_out``, and return its tables."""
    tables = {tag: np.round(values, 9) for tag, values in parameters().items()}
    lines = [
        "NSET 3", "NMEM 1 2 1", "TVAR 0 1 2", f"CPHI {N_PHI}", f"CETA {len(ETA) - 1} " + " ".join(map(str, ETA)),
        f"RMIN {LEAST_LAYERS}", f"RTRK {N_LAYERS}", f"RETA {len(ABS_ETA) - 1} " + " ".join(map(str, ABS_ETA)),
    ]  # fmt: skip

    def row(values: np.ndarray) -> str:
        return " ".join(f"{value:.9f}" for value in values)

    for i, (of_set, member) in enumerate(MEMBERS):
        start = f"{of_set} {member}"
        lines += [f"{start} T 0 {b} " + row(np.zeros(N_LAYERS + 1)) for b in range(len(ABS_ETA) - 1)]
        lines += [f"{start} R {v} {b} " + row(tables["R"][i, v, b]) for v in range(6) for b in range(len(ABS_ETA) - 1)]
        lines += [f"{start} F {kind} " + row(tables["F"][i, kind]) for kind in range(2)]
        lines += [
            f"{start} C {kind} {v} {b} " + row(tables["C"][i, kind, v, b])
            for kind in range(2)
            for v in range(2)
            for b in range(len(ETA) - 1)
        ]
    path.write_text("\n".join(line for line in lines if not leave_out or not line.startswith(leave_out)) + "\n")
    return tables


def scale(
    tables: dict[str, np.ndarray], member: int, kind: int, pt: float, eta: float, phi: float, charge: int
) -> float:
    across = max(i for i in range(len(ETA) - 1) if eta >= ETA[i] or i == 0)
    around = int((phi + math.pi) / (2 * math.pi / N_PHI))
    m, a = tables["C"][member, kind, :, across, around]
    return 1 / (1 + m / 100 + charge * a / 100 * pt)


def spread(tables: dict[str, np.ndarray], member: int, k: float, pt: float, eta: float, gen_pt: float) -> float:
    simulated, recorded = tables["F"][member, :, int(abs(eta) >= ABS_ETA[1])]
    x = gen_pt / (k * pt)
    return k * x / (1 + (x - 1) * recorded / simulated)


def smear(
    tables: dict[str, np.ndarray], member: int, k: float, pt: float, eta: float, layers: int, random: float
) -> float:
    cell = (int(abs(eta) >= ABS_ETA[1]), min(max(layers - LEAST_LAYERS, 0), N_LAYERS - 1))
    simulated, recorded = tables["F"][member, :, cell[0]]
    p0, p1, p2, width, beta, power = (tables["R"][member, v][cell] for v in range(6))
    away = k * pt - 45
    sigma = p0 + p1 * away + p2 / 100 * away**2
    # quantile of the Crystal Ball by its distribution function in the lower half
    u = min(random, 1 - random)
    t = power / beta
    tail = math.exp(-(beta**2) / 2) * t / (power - 1)
    total = 2 * tail + math.sqrt(2 * math.pi) * (1 - 2 * norm.cdf(-beta))
    if u * total < tail:
        quantile = t * (1 - (u * total / tail) ** (-1 / (power - 1))) - beta
    else:
        quantile = norm.ppf(norm.cdf(-beta) + (u * total - tail) / math.sqrt(2 * math.pi))
    quantile = quantile if random < 0.5 else -quantile
    return k / (1 + math.sqrt(recorded**2 - simulated**2) * sigma * width * quantile)
