"""Run a function over all chunks of a fileset, merge its outputs, and account for every entry.

The flow, with its modules:

    plan          the chunks of a fileset
    upload        local files on workers that cannot see this machine's disk
    process       the public function: plan, run, merge, report
    task          one task: read a group of chunks, call the function
    engines       where tasks run: threads, Dask, Spark
    accumulate    how outputs are merged (columns: arrays and tables)
    bookkeeping   what was processed and what failed; report: the same for the user
    checkpoint    finished chunks on disk; dependencies: the key of a function
    stage_out     skims written by the workers, and their manifest (skims: the files' content)
    normalise     weights after the merge
"""
