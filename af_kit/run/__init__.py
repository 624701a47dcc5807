"""A function over all chunks: `process` runs it, `accumulate` merges, `report` accounts for every entry."""
