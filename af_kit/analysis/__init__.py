"""Physics analyses. Each knows events and never a cluster; copy a folder to start one of your own.

    dimuon      the invariant mass of two muons, from the eta meson to the Z boson

What they share:

    output      histograms.json and candidates.parquet, the same bytes from run to run
    style       figures and labels in the CMS style
    binning     the bin edges as boost-histogram sees them, for compiled kernels
    jit         compile a kernel, also where its cache cannot be written
"""
