"""RunPod: pods rented by the second, one account for each person."""

from pipeline.providers.runpod.provider import RunPodProvider

__all__ = ["RunPodProvider"]
