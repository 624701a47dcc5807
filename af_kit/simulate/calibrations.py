"""Write the calibration files of a simulated year, with the names and formats of those of a CMS analysis."""

from __future__ import annotations

from pathlib import Path

from af_kit.simulate.calibration_files import btag, event, jets, jets_2022, muons
from af_kit.simulate.nano.campaigns import campaign


def calibrations(folder: str | Path, year: int) -> list[Path]:
    """Write small calibration files that fit the simulated samples of a year.

    Names and formats are those of the files that a CMS analysis reads, the numbers are invented: they are those with
    which `nanoaod` simulates the detector. The momentum scale of muons, for instance, corrects the simulated data, and
    the raw momenta of jets times the corrections give the simulated ones. Not for physics.

    ==========================  =====================================================================================
    muons                       momentum scale ``RoccoR2018.txt.gz``; scale factors of identification and isolation;
                                efficiencies of the trigger; calibration of the mass resolution ``res_calib_*``
    jets                        energy scale (``.jec.txt.gz``), its uncertainties (``.junc.txt.gz``), resolution
                                (``.jr.txt.gz``, ``.jersf.txt.gz``), pile-up identification ``PUIDMaps.root``
                                (2022: all in ``jet_jerc_Summer22_V3.json.gz``, without the identification)
    b tagging                   ``DeepCSV_*.btag.csv.gz``
    events                      certified luminosity blocks ``Cert_*``; pile-up in data and simulation;
                                ``NNLOPS_reweight.root``, ``zpt_weights.histo.json``, ``vbf_stxs.json``
    ==========================  =====================================================================================

    Of 2022 there are the certified luminosity blocks and the files of jets only.

    Parameters
    ----------
    folder : path
        Created if needed. Existing files of the same names are replaced. The years can share a folder.
    year : int
        2016, 2017, 2018 or 2022.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        If there is no such year, or a file cannot be written.
    """
    of_year = campaign(year)
    folder = Path(folder)
    if of_year.is_run3:
        return [event.golden(folder, of_year), *jets_2022.write(folder)]
    return [path for subject in (muons, jets, btag, event) for path in subject.write(folder, of_year)]
