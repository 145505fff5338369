"""Which configuration comes next, and when a trial is stopped."""
