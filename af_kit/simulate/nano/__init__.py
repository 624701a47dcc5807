"""Simulated NanoAOD of single processes, from the hard collision to the detector.

campaigns    the years: triggers, luminosity, runs, pile-up
detector     what the detector does to momenta; the simulated calibration files contain the same numbers
tables       collections of objects, as columns with the event of each object
momenta      four-momenta and decays
hard         the hard processes: particles and generator jets
muons, electrons, jets    reconstruction
weights      generator weights and their variations
conditions   the event as a whole: pile-up, vertex, filters, missing momentum, soft activity
recorded     runs and luminosity blocks of data, and which of them are certified
branches     names, types and titles of the branches
sample       a file of a kind of sample
"""
