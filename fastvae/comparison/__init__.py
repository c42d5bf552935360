"""Models beside each other: each trained for the same time on the same rows, and measured by the same measures."""
