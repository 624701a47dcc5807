"""The simulated years: Run 2 as reprocessed before the ultra-legacy campaign, and 2022 before the EE leak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from af_kit.errors import InputError, nearest


@dataclass(frozen=True)
class Campaign:
    """One year of data taking.

    Attributes
    ----------
    year : int
    lumi_ipb : float
        Luminosity of the certified data, in 1/pb.
    threshold : int
        Momentum threshold in GeV of the isolated single-muon trigger that an analysis uses.
    leading_pt : float
        The cut on the leading muon that goes with it, in GeV.
    runs : tuple of (int, int, int)
        Run, and first and last of its luminosity blocks that can be certified.
    pileup_bins : int
        Bins of the pile-up histograms, of one interaction each.
    pileup_data, pileup_mc : (float, float)
        Mean and width of the true number of interactions in data and in simulation.
    geofit : tuple of float
        Shift of a muon's curvature per transverse impact parameter, for |eta| below 0.9, below 1.7 and above, in the
        unit in which an analysis corrects for it: pt -= geofit * dxybs * charge * pt^2 / 10^4.
    jet_id : tuple of int
        Values of Jet_jetId of a bad jet, a jet with a hard lepton, and a good jet.
    vbf_filter_xsec_pb, ewk_xsec_pb : float
        Cross-sections in pb of Drell-Yan with 105 < m < 160 and its filter for two forward jets, and of electroweak
        production of leptons and two jets with 105 < m < 160.
    """

    year: int
    lumi_ipb: float
    threshold: int
    leading_pt: float
    runs: tuple[tuple[int, int, int], ...]
    pileup_bins: int
    pileup_data: tuple[float, float]
    pileup_mc: tuple[float, float]
    geofit: tuple[float, float, float]
    jet_id: tuple[int, int, int]
    vbf_filter_xsec_pb: float
    ewk_xsec_pb: float

    def pileup(self, of: str) -> NDArray[np.float64]:
        """Return the normalised distribution of the true number of interactions, in bins of 1 from 0.

        ``of`` is "mc", "data", or "plus" or "minus": data for an inelastic cross-section that is 4.6% larger or
        smaller.
        """
        mean, width = self.pileup_mc if of == "mc" else self.pileup_data
        mean *= {"plus": 1.046, "minus": 0.954}.get(of, 1.0)
        shape = (mean / width) ** 2
        x = np.arange(self.pileup_bins) + 0.5
        density = np.exp((shape - 1) * np.log(x / mean) - shape * (x / mean - 1))
        return density / density.sum()

    @property
    def is_run3(self) -> bool:
        """Whether the branches are those of 13.6 TeV: see `af_kit.simulate.nano.run3`."""
        return self.year >= 2022

    @property
    def sqrt_s_TeV(self) -> float:
        """Energy of the collisions in TeV. The simulated cross-sections are those of 13 TeV in every year."""
        return 13.6 if self.is_run3 else 13

    @property
    def has_prefiring(self) -> bool:
        """Whether the first-level trigger could fire one bunch crossing early."""
        return self.year in (2016, 2017)


_CAMPAIGNS = (
    Campaign(
        2016, 35_900, 24, 26,
        ((274422, 1, 2207), (276831, 761, 2702), (279931, 1045, 3022), (283408, 29, 2088)),
        75, (23.0, 8.0), (23.5, 10.0), (411.34, 673.40, 1099.0), (0, 3, 7), 1.77, 0.07486,
    ),
    Campaign(
        2017, 41_530, 27, 29,
        ((300157, 9, 1107), (302448, 486, 1926), (304144, 76, 2596), (306125, 770, 2642)),
        99, (32.5, 11.5), (32.0, 13.0), (582.32, 974.05, 1263.4), (0, 2, 6), 2.04, 0.0789,
    ),
    Campaign(
        2018, 59_970, 24, 26,
        ((316766, 51, 1920), (317626, 40, 2045), (319579, 41, 3168), (321305, 20, 2600), (324878, 180, 1800)),
        100, (32.0, 11.0), (34.0, 12.5), (650.84, 988.37, 1484.6), (0, 2, 6), 2.03, 0.0789,
    ),
    Campaign(
        2022, 7980.4, 24, 26,
        ((355872, 1, 1200), (356446, 1, 1500), (357271, 1, 1800), (357802, 1, 1000)),
        100, (38.0, 12.0), (40.0, 13.0), (0.0, 0.0, 0.0), (0, 2, 6), 2.03, 0.0789,
    ),
)  # fmt: skip
RUN_2 = (2016, 2017, 2018)
YEARS = tuple(campaign.year for campaign in _CAMPAIGNS)


def campaign(year: int) -> Campaign:
    """Return the campaign of a year; an `InputError` lists the years if there is none."""
    for known in _CAMPAIGNS:
        if known.year == year:
            return known
    raise InputError(f"Nothing can be simulated for year={year!r}.{nearest(str(year), map(str, YEARS))}")
