"""Stoker from a program: `Client(url, token)` uploads datasets, makes jobs, follows and fetches them."""

from stoker_client.client import Client
from stoker_client.errors import NotSignedIn, Refused, StillWaiting, StokerError, Unreachable
from stoker_client.shapes import Artifact, Dataset, Estimate, Event, Frame, Job, LogLine, NewJob, Series

__all__ = [
    "Artifact",
    "Client",
    "Dataset",
    "Estimate",
    "Event",
    "Frame",
    "Job",
    "LogLine",
    "NewJob",
    "NotSignedIn",
    "Refused",
    "Series",
    "StillWaiting",
    "StokerError",
    "Unreachable",
]
__version__ = "0.1.0"
