"""Where the chunks of a run are processed: on threads of this process, or on a Dask cluster."""
