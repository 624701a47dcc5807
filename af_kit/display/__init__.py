"""What a user sees while and after something runs: tables in notebooks, progress bars and log lines in terminals."""
