"""From a fileset to events: `fileset` (which files), `chunks` (the plan), `read` (one chunk of one file)."""
