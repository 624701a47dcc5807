"""Engines: where the tasks of a run are executed. `threads` is this process, `dask` a Dask cluster, `spark` Spark.

An engine is one function, ``run_on_NAME(context, groups, step, ...) -> Outcome``. For each group of chunks it calls
`af_kit.run.task.run_group` once, anywhere, and

- passes each finished group to ``step`` (progress bar, checkpoint) and to a `Merger`, which merges neighbours in an
  order that does not depend on the engine, so that a result has the same bits everywhere;
- raises nothing for a group that is lost, but lists the reason in ``Outcome.reasons``;
- lets a `LiveView` look at that `Merger` from time to time, and says how it gets histograms from finished nodes;
- stops the run for the errors of `stops_the_run` and for an interrupt: ``Outcome.partial`` is what was done by then.

An engine knows neither files nor histograms: a group is pickled `af_kit.run.task.Span` values, a result an
`af_kit.run.bookkeeping.Partial`, and `af_kit.run.bookkeeping.combine` merges neighbours. What the function needs on a
worker (its modules, what was sent) is in `af_kit.run.pickling.Packed` and in `af_kit.plugins`.

`af_kit.run.process` chooses the engine. To add one, write its module next to these three and choose it there.
"""
