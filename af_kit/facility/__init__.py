"""What a facility delivers, and what limits it: measured runs, their bounds, and predictions.

    workloads   the runs that are measured: the kit's analyses, or a function of your own
    samples     the simulated files that they read, made once
    measure     one run on a connected cluster -> a point
    point       what was measured; phases: how the workers' time divides, from Dask's task stream
    limits      what limits a point: the smallest of the bounds that its shares give
    bench       a grid of points: cluster shapes x workloads x sizes
    table       events/s for each number of workers, as facilities publish them; published: tables of others
    picture     events/s against workers, with the roofline
    write       bench.json, the tables and the picture in a folder

The command is ``af-kit bench facility``.
"""
