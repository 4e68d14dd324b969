from pipeline.providers.cluster.provider import ClusterProvider

__all__ = ["ClusterProvider"]
