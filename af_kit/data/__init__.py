"""From files to events: `fileset` finds the files, `reading` reads a chunk, `transport` moves bytes."""
