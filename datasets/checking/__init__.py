"""The check of a dataset before any GPU is paid for: a file is read in slices of a few seconds and can be taken up
again after each, so that a file of any size fits into short tasks and a killed worker costs one slice."""
