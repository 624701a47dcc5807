"""The datasets of a simulated H -> mu mu analysis: kind of sample, cross-section, and role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from af_kit.simulate.nano import hard
from af_kit.simulate.nano.campaigns import Campaign
from af_kit.simulate.nano.sample import DY_PB, KINDS


@dataclass(frozen=True)
class SimulatedDataset:
    """One dataset.

    Attributes
    ----------
    name, kind : str
        Name, and the kind of sample (`af_kit.simulate.nano.sample.KINDS`).
    share : float
        Part of all simulated events.
    process : str
        The process in the H -> mu mu analysis; empty for data.
    xsec_pb : float
        Cross-section in pb, with branching ratio and filter efficiency; 0 for data.
    more : mapping
        Further metadata.
    """

    name: str
    kind: str
    share: float
    process: str = ""
    xsec_pb: float = 0.0
    more: tuple[tuple[str, Any], ...] = ()

    def metadata(self, campaign: Campaign, lumi_ifb: float) -> dict[str, Any]:
        """Return the metadata of the dataset in a fileset."""
        found: dict[str, Any] = {"isMC": self.kind != "data", "year": campaign.year}
        found["sqrt_s_TeV"] = campaign.sqrt_s_TeV
        found["lumi_ifb"] = lumi_ifb
        found["label"] = "Simulation"  # also of the data, so that a figure of both says that no event was recorded
        if self.kind == "data":
            found["primary_dataset"] = "SingleMuon"
        else:
            found |= {"xsec_pb": self.xsec_pb, "process": self.process}
            weights = KINDS[self.kind].weights
            found |= {"lha_ids": list(weights.pdf)} if weights is not None else {}
        return (
            found
            | {"kind": self.kind}
            | {name: list(value) if isinstance(value, tuple) else value for name, value in self.more}
        )


def datasets(campaign: Campaign) -> tuple[SimulatedDataset, ...]:
    """Return the datasets of a year: data, Drell-Yan in three samples, four backgrounds, and the signal twice."""
    signal = (("regions", ("signal", "sidebands")),)
    return (
        SimulatedDataset("data", "data", 0.40),
        SimulatedDataset("dy_m50", "dy", 0.16, "dy", DY_PB, (("regions", ("z_peak",)),)),
        SimulatedDataset(
            "dy_m105_160", "dy-m105-160", 0.12, "dy", 47.17, (*signal, ("stitching", "inclusive"))
        ),
        SimulatedDataset(
            "dy_m105_160_vbf", "dy-m105-160-vbf", 0.08, "dy", campaign.vbf_filter_xsec_pb,
            (*signal, ("stitching", "filtered")),
        ),
        SimulatedDataset("ewk_lljj_m105_160", "ewkzjj", 0.06, "ewkzjj", campaign.ewk_xsec_pb, signal),
        SimulatedDataset("ttbar_dl", "ttbar", 0.06, "ttbar", 86.65),
        SimulatedDataset("diboson", "diboson", 0.04, "diboson", round(sum(hard.DIBOSONS_PB.values()), 4)),
        SimulatedDataset("ggh_hmumu", "ggh-hmumu", 0.04, "ggh", 0.01057),
        SimulatedDataset("vbf_hmumu", "vbf-hmumu", 0.04, "vbf", 8.2107e-4),
    )  # fmt: skip


def dataset_of(kind: str, campaign: Campaign) -> SimulatedDataset | None:
    """Return the dataset of a kind of sample; None if the analysis has none."""
    return next((dataset for dataset in datasets(campaign) if dataset.kind == kind), None)
