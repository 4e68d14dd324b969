"""`make bench`: what the running product does in a second, each figure beside its floor, measured in the same run."""
