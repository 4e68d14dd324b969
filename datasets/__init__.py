"""Datasets: upload, import, check, storage and signed links. Imports nothing of the job core."""
