"""The calibration files of a simulated year, by subject: `muons`, `jets`, `btag`, `event`; `files` writes the formats.

They have the names and the formats of the files that a CMS analysis reads, with few bins and invented numbers. Those of
the detector are the ones with which the samples are simulated (`af_kit.simulate.nano.detector`).
"""
