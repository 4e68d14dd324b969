from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = "Notifications"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from notifications import signals, topics  # noqa: F401 - importing connects the signals
        from notifications.addresses import bound_to
        from notifications.models import Destination
        from pipeline.live.topics import register
        from pipeline.services.rotation import Sealed, also_reseal

        register("notifications", topics.snapshot)
        also_reseal(Sealed(Destination, "sealed", bound_to, lambda one: f"The address of the destination {one.pk}"))
