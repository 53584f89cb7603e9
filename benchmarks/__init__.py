"""Speed and cost against peers and limits, as ratios measured in one run."""
